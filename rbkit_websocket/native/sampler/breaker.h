/* Asking the main thread, from a thread without the lock, to call a function of ours between two bytecodes.
 *
 * Python 3.13 has Py_AddPendingCall for that. Before it, the call is queued, but whoever is not the main thread does not
 * tell a main thread that computes to look: it would wait until something else does. The word it looks at is the
 * evaluation loop's own, in the headers of CPython 3.11 to 3.12, and setting it is what the interpreter itself does
 * for a signal, a collection or a thread that waits for the lock; set for nothing it does no harm. It is written only
 * where what can be asked about the structure around it is where the headers have it: both versions get nothing but
 * security fixes any more. Elsewhere a signal has to do, which costs the main thread ten times as much.
 */
#ifndef RBKIT_BREAKER_H
#define RBKIT_BREAKER_H

#include <Python.h>

int breaker_is_known(void);

/* To be called again if the call is not made: the main thread may be about to clear the word. */
void set_breaker(PyInterpreterState *interpreter);

#endif
