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
    return table_key(hash);
}

Stack *store_get(Store *store, unsigned long thread, const Frame *frames, int depth)
{
    uint64_t hash = stack_hash(thread, frames, depth);
    for (TableSlot *at = table_find(&store->stacks, hash); at != NULL; at = table_next(&store->stacks, at)) {
        Stack *stack = (Stack *)(uintptr_t)at->value;
        if (stack->thread == thread && Py_SIZE(stack) == depth &&
            memcmp(stack->frames, frames, (size_t)depth * sizeof *frames) == 0) {
            return stack;
        }
    }
    if (store->stacks.used >= MAX_STACKS || table_reserve(&store->stacks) < 0) {
        return NULL;
    }
    Stack *stack = stack_new(thread, frames, depth);
    if (stack != NULL) {
        table_put(&store->stacks, hash, (uintptr_t)stack);
    }
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
    *gone = store->stacks.used != 0 ? malloc(store->stacks.used * sizeof **gone) : NULL;
    for (size_t place = 0; *gone != NULL && place < table_places(&store->stacks); place++) {
        Stack *stack;
        while ((stack = store_at(store, place)) != NULL && !stack->kept && stack->sums == 0) {
            (*gone)[n_gone++] = stack;
            table_remove(&store->stacks, &store->stacks.slots[place]);
        }
    }
    return n_gone;
}
