/* Stacks, each kept once, and what has been sampled of each since the last drain: a sum for each request.
 *
 * A stack belongs to one thread. The table is changed under the interpreter's lock only, and it holds the reference to
 * each stack that is in it; everybody else's pointers are borrowed and valid until the next eviction. Nothing here runs
 * Python code (stacks are not tracked by the collector), so it may be called with the sampler's mutex held.
 */
#ifndef RBKIT_STORE_H
#define RBKIT_STORE_H

#include <Python.h>
#include <stddef.h>

#include "../common/table.h"
#include "stack.h"

#define MAX_STACKS 20000

/* What has been sampled of one stack in one request. */
typedef struct {
    Stack *stack;
    PyObject *request; /* a reference, or NULL */
    Weight weight;
    long count;
    size_t older; /* the stack's sum before this one, in the same way */
} Sum;

typedef struct {
    Table stacks; /* by their hash */
    Sum *sums;
    size_t n_sums, room_sums;
} Store;

/* The stack at a place of the table, from 0 to table_places(); NULL: none. */
static inline Stack *store_at(const Store *store, size_t place)
{
    const TableSlot *slot = &store->stacks.slots[place];
    return slot->key != 0 ? (Stack *)(uintptr_t)slot->value : NULL;
}

/* The stack, made if it is new; NULL when there is no memory or no room. Borrowed. */
Stack *store_get(Store *store, unsigned long thread, const Frame *frames, int depth);

/* Adds to a stack; -1 when there is no memory to remember that. */
int store_add(Store *store, Stack *stack, PyObject *request, Weight weight, long count);

/* Takes out every stack that is neither ``kept`` nor has a sum. Returns how many; ``*gone`` is an array of them for the
 * caller to release (without the mutex: a code object's end may run Python code) and free. */
size_t store_evict(Store *store, Stack ***gone);

#endif
