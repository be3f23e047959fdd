/* The looker: a thread that takes the lock and looks at all threads that have run. */
#ifndef RBKIT_LOOKER_H
#define RBKIT_LOOKER_H

#include <Python.h>

#include <stdint.h>

/* Looks at all threads that have run; with the lock. ``baseline``: at the start, what they used before is not ours. */
void look(int baseline);

/* Before the thread is started, and after it has ended or where there is none. */
void looker_begin(int64_t now);
void looker_end(void);

/* In a forked child: it is not alive. */
void looker_forget(void);

void *looker_main(void *unused);

/* catch_up(). */
extern PyMethodDef looker_methods[];

#endif
