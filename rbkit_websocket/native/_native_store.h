/* Stacks, each kept once, and what has been sampled of each since the last drain: a sum for each request.
 *
 * A stack belongs to one thread. The table is changed under the interpreter's lock only, and it holds the reference to
 * each stack that is in it; everybody else's pointers are borrowed and valid until the next eviction. Nothing here runs
 * Python code (stacks are not tracked by the collector), so it may be called with the sampler's mutex held.
 */
#ifndef RBKIT_NATIVE_STORE_H
#define RBKIT_NATIVE_STORE_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_native_walk.h"

#define MAX_STACKS 20000
#define MAX_SUMS 65536

/* What a sample weighs, by both clocks. */
typedef struct {
    int64_t wall_ns, cpu_ns;
} Weight;

static inline void weight_add(Weight *sum, Weight more)
{
    sum->wall_ns += more.wall_ns;
    sum->cpu_ns += more.cpu_ns;
}

typedef struct {
    PyObject_VAR_HEAD
    unsigned long thread;
    uint64_t hash;
    Weight rest;     /* less than a microsecond each, left over by the last drain */
    size_t sums;     /* number + 1 of its youngest sum; 0: it has none */
    size_t group;    /* whoever adds up: drain(), fold() */
    char kept;       /* during an eviction: stays */
    Frame frames[1];
} Stack;

/* What has been sampled of one stack in one request. */
typedef struct {
    Stack *stack;
    PyObject *request; /* a reference, or NULL */
    Weight weight;
    long count;
    size_t older; /* the stack's sum before this one, in the same way */
} Sum;

typedef struct {
    Stack **slots; /* open addressing; nothing is ever deleted but by a rebuild */
    size_t mask;
    size_t used;
    Sum *sums;
    size_t n_sums, room_sums;
} Store;

/* Among a stack's sums the request's is looked for so far. It is mostly the youngest; one too many does no harm. */
#define MAX_CHAIN 8

static void stack_dealloc(PyObject *self)
{
    Stack *stack = (Stack *)self;
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        Py_DECREF(stack->frames[i].code);
    }
    PyObject_Free(self);
}

static PyObject *stack_codes(PyObject *self, void *Py_UNUSED(closure))
{
    Py_ssize_t depth = Py_SIZE(self);
    PyObject *codes = PyTuple_New(depth);
    for (Py_ssize_t i = 0; codes != NULL && i < depth; i++) {
        PyObject *code = ((Stack *)self)->frames[i].code;
        Py_INCREF(code);
        PyTuple_SET_ITEM(codes, i, code);
    }
    return codes;
}

static PyObject *stack_instructions(PyObject *self, void *Py_UNUSED(closure))
{
    Py_ssize_t depth = Py_SIZE(self);
    PyObject *instructions = PyTuple_New(depth);
    for (Py_ssize_t i = 0; instructions != NULL && i < depth; i++) {
        PyObject *lasti = PyLong_FromSsize_t(((Stack *)self)->frames[i].lasti);
        if (lasti == NULL) {
            Py_CLEAR(instructions);
            break;
        }
        PyTuple_SET_ITEM(instructions, i, lasti);
    }
    return instructions;
}

static PyObject *stack_thread(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(((Stack *)self)->thread);
}

static PyGetSetDef stack_attributes[] = {
    {"codes", stack_codes, NULL, "the code objects, innermost first", NULL},
    {"instructions", stack_instructions, NULL, "f_lasti of each frame", NULL},
    {"thread", stack_thread, NULL, "the thread's identity", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject StackType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "rbkit_websocket.native._native.Stack",
    .tp_basicsize = offsetof(Stack, frames),
    .tp_itemsize = sizeof(Frame),
    .tp_dealloc = stack_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "A stack of one thread; compared by identity.",
    .tp_getset = stack_attributes,
};

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

static Stack *stack_new(unsigned long thread, const Frame *frames, int depth)
{
    Stack *stack = PyObject_Malloc(offsetof(Stack, frames) + (size_t)depth * sizeof *frames);
    if (stack == NULL) {
        return NULL;
    }
    PyObject_InitVar((PyVarObject *)stack, &StackType, depth);
    stack->thread = thread;
    stack->hash = 0;
    stack->rest = (Weight){0, 0};
    stack->sums = stack->group = 0;
    stack->kept = 0;
    memcpy(stack->frames, frames, (size_t)depth * sizeof *frames);
    for (int i = 0; i < depth; i++) {
        Py_INCREF(frames[i].code);
    }
    return stack;
}

/* The stack, made if it is new; NULL when there is no memory or no room. Borrowed. */
static Stack *store_get(Store *store, unsigned long thread, const Frame *frames, int depth)
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

/* Adds to a stack; -1 when there is no memory to remember that. */
static int store_add(Store *store, Stack *stack, PyObject *request, Weight weight, long count)
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

/* Takes out every stack that is neither ``kept`` nor has a sum. Returns how many; ``*gone`` is an array of them for the
 * caller to release (without the mutex: a code object's end may run Python code) and free. */
static size_t store_evict(Store *store, Stack ***gone)
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

#endif
