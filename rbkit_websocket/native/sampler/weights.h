/* What is seen of a thread, weighed and put into the store. */
#ifndef RBKIT_WEIGHTS_H
#define RBKIT_WEIGHTS_H

#include "state.h"

/* With lock and mutex, as the next one: */
void put_raw(Slot *slot, Stack *stack, PyObject *request, Weight weight);

void flush_idle(Slot *slot);

/* With the lock. */
void remember_held(int64_t began, int64_t ended, Stack *stack, PyObject *request);

/* Weighs a slot with the stack and the request that were found; takes the mutex. ``cpu``: -1 if it cannot be told. */
void put_sample(Slot *slot, const Frame *frames, int depth, PyObject *request, int64_t now, int64_t cpu, Way way);

/* Whether the thread has not run since a look that found it at rest; if so, its time is accounted for. Mutex only. */
int at_rest(Slot *slot, int64_t now, int64_t cpu);

#endif
