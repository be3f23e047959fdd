#include "store.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SUMS 65536

/* Among a stack's sums the request's is looked for so far. It is mostly the youngest; one too many does no harm. */
#define MAX_CHAIN 8

static uint64_t stack_hash(unsigned long thread, const Frame *frames, int depth)
{
    uint64_t hash = (uint64_t)thread * 0x9E3779B97F4A7C15u + (uint64_t)depth;
    for (int i = 0; i < depth; i++) {
        hash ^= (uint64_t)(uintptr_t)frames[i].code + ((uint64_t)frames[i].lasti << 48);
        hash *= 0xFF51AFD7ED558CCDu;
        hash ^= hash >> 32;
    }
    return hash;
}

static int store_resize(Store *store, size_t size)
{
    Stack **slots = calloc(size, sizeof *slots);
    if (slots == NULL) {
        return -1;
    }
    for (size_t i = 0; store->slots != NULL && i <= store->mask; i++) {
        Stack *stack = store->slots[i];
        if (stack != NULL) {
            size_t at = stack->hash & (size - 1);
            while (slots[at] != NULL) {
                at = (at + 1) & (size - 1);
            }
            slots[at] = stack;
        }
    }
    free(store->slots);
    store->slots = slots;
    store->mask = size - 1;
    return 0;
}

Stack *store_get(Store *store, unsigned long thread, const Frame *frames, int depth)
{
    if ((store->slots == NULL || store->used * 3 > store->mask * 2) &&
        store_resize(store, store->slots == NULL ? 1024 : (store->mask + 1) * 2) < 0) {
        return NULL;
    }
    uint64_t hash = stack_hash(thread, frames, depth);
    size_t at = hash & store->mask;
    for (Stack *stack; (stack = store->slots[at]) != NULL; at = (at + 1) & store->mask) {
        if (stack->hash == hash && stack->thread == thread && Py_SIZE(stack) == depth &&
            memcmp(stack->frames, frames, (size_t)depth * sizeof *frames) == 0) {
            return stack;
        }
    }
    if (store->used >= MAX_STACKS) {
        return NULL;
    }
    Stack *stack = stack_new(thread, frames, depth);
    if (stack == NULL) {
        return NULL;
    }
    stack->hash = hash;
    store->slots[at] = stack;
    store->used++;
    return stack;
}

int store_add(Store *store, Stack *stack, PyObject *request, Weight weight, long count)
{
    size_t at = stack->sums;
    for (int i = 0; at != 0 && i < MAX_CHAIN; i++, at = store->sums[at - 1].older) {
        Sum *sum = &store->sums[at - 1];
        if (sum->request == request) {
            weight_add(&sum->weight, weight);
            sum->count += count;
            return 0;
        }
    }
    if (store->n_sums == store->room_sums) {
        size_t room = store->room_sums ? store->room_sums * 2 : 256;
        Sum *sums = room <= MAX_SUMS ? realloc(store->sums, room * sizeof *sums) : NULL;
        if (sums == NULL) {
            return -1;
        }
        store->sums = sums;
        store->room_sums = room;
    }
    Py_XINCREF(request);
    store->sums[store->n_sums++] = (Sum){stack, request, weight, count, stack->sums};
    stack->sums = store->n_sums;
    return 0;
}

size_t store_evict(Store *store, Stack ***gone)
{
    size_t n_gone = 0;
    *gone = store->used ? malloc(store->used * sizeof **gone) : NULL;
    if (*gone == NULL) {
        return 0;
    }
    for (size_t i = 0; i <= store->mask; i++) {
        Stack *stack = store->slots[i];
        if (stack != NULL && !stack->kept && stack->sums == 0) {
            (*gone)[n_gone++] = stack;
            store->slots[i] = NULL;
        }
    }
    /* The chains are broken now. Should there be no memory, everything must go through a table all the same. */
    store->used -= n_gone;
    if (store_resize(store, store->mask + 1) < 0) {
        for (size_t i = 0; i < n_gone; i++) { /* back where they were: any free place on their chain is right */
            size_t at = (*gone)[i]->hash & store->mask;
            while (store->slots[at] != NULL) {
                at = (at + 1) & store->mask;
            }
            store->slots[at] = (*gone)[i];
        }
        store->used += n_gone;
        n_gone = 0;
    }
    return n_gone;
}
