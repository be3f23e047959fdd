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

#if PY_VERSION_HEX < 0x030D0000
#define HAVE_SIGNAL 1
#else
#define HAVE_SIGNAL 0
#endif

#if PY_VERSION_HEX >= 0x030A0000 && PY_VERSION_HEX < 0x030D0000 && !defined(PYPY_VERSION) && \
    !defined(RBKIT_PUBLIC_ONLY) && defined(__has_include)
#if __has_include(<internal/pycore_interp.h>)
#define HAVE_BREAKER 1
#undef _PyGC_FINALIZED /* the public headers have one of the same name */
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#include <internal/pycore_interp.h>
#undef Py_BUILD_CORE
#else
#include <internal/pycore_interp.h>
#endif
#endif
#endif

/* Whether the interpreter that runs is of the release that the headers were of: no other may have the word elsewhere. */
static int breaker_is_known(void)
{
#ifdef HAVE_BREAKER
    const char *running = Py_GetVersion(); /* "3.11.7 (main, ...", "3.12.0rc1+ (..." */
    size_t length = strlen(PY_VERSION);
    return strncmp(running, PY_VERSION, length) == 0 && running[length] == ' ';
#else
    return 0;
#endif
}

/* To be called again if the call is not made: the main thread may be about to clear the word. */
static void set_breaker(PyInterpreterState *interpreter)
{
#ifdef HAVE_BREAKER
    __atomic_store_n((int *)&interpreter->ceval.eval_breaker, 1, __ATOMIC_RELAXED);
#else
    (void)interpreter;
#endif
}

#endif
