/* Asking the main thread, from a thread without the lock, to call a function of ours between two bytecodes.
 *
 * Python 3.13 has Py_AddPendingCall for that. Before it, the call is queued, but whoever is not the main thread does not
 * tell a main thread that computes to look: it would wait until something else does. The word it looks at is the
 * evaluation loop's own, in the headers of CPython 3.10 to 3.12, and setting it is what the interpreter itself does
 * for a signal, a collection or a thread that waits for the lock; set for nothing it does no harm. It is written only
 * by the very release that this was built for. Elsewhere a signal has to do, which costs the main thread ten times as
 * much.
 */
#ifndef RBKIT_NATIVE_ASK_H
#define RBKIT_NATIVE_ASK_H

#include <Python.h>

#include "_compat.h"

#if HAVE_BREAKER
#undef _PyGC_FINALIZED /* the public headers have one of the same name */
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#include <internal/pycore_interp.h>
#undef Py_BUILD_CORE
#else
#include <internal/pycore_interp.h>
#endif
#endif

static int breaker_is_known(void)
{
    return HAVE_BREAKER && layouts_hold();
}

/* To be called again if the call is not made: the main thread may be about to clear the word. */
static void set_breaker(PyInterpreterState *interpreter)
{
#if HAVE_BREAKER
    __atomic_store_n((int *)&interpreter->ceval.eval_breaker, 1, __ATOMIC_RELAXED);
#else
    (void)interpreter;
#endif
}

#endif
