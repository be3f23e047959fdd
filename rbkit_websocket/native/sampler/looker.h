/* The looker: a thread that takes the lock and looks at all threads that have run. */
#ifndef RBKIT_LOOKER_H
#define RBKIT_LOOKER_H

#include <Python.h>

/* Looks at all threads that have run; with the lock. ``baseline``: at the start, what they used before is not ours. */
void look(int baseline);

void *looker_main(void *unused);

/* catch_up(). */
extern PyMethodDef looker_methods[];

#endif
