/* What may be used beyond CPython's public functions, and where: the one place that decides.
 *
 * A private way is open on the versions that the tests run on. There is no telling what it does on another one, and what
 * it does may be the end of the process: so a newer Python gets the public functions and nothing else until its number
 * has been entered here, when the tests have run on it. The interpreter's reference tracer is documented, but counts as
 * private: a later version may call it with events that it does not know.
 *
 * Versions are told apart twice. When this is compiled, by the headers. When it is loaded, by the interpreter that runs,
 * which may be of another release of the same minor version, or one before the first: layouts are believed only of the
 * very release that the headers were of.
 */
#ifndef RBKIT_COMPAT_H
#define RBKIT_COMPAT_H

#include <Python.h>
#include <string.h>

#define TESTED_VERSIONS "CPython 3.10 to 3.13"

/* From the first release on: what comes before one may be laid out in another way. */
#if PY_VERSION_HEX >= 0x030A00F0 && PY_VERSION_HEX < 0x030E0000 && PY_RELEASE_LEVEL == PY_RELEASE_LEVEL_FINAL && \
    !defined(Py_GIL_DISABLED) && !defined(PYPY_VERSION)
#define TESTED_VERSION 1
#else
#define TESTED_VERSION 0
#endif

/* tp_alloc and tp_free of classes written in Python. */
#define HAVE_HOOKS TESTED_VERSION

/* PyRefTracer_SetTracer. */
#if TESTED_VERSION && PY_VERSION_HEX >= 0x030D0000
#define HAVE_REFTRACER 1
#else
#define HAVE_REFTRACER 0
#endif

/* The collector's lists. */
#define HAVE_LISTS TESTED_VERSION

/* The interpreter's own frames, without an object for each. */
#if TESTED_VERSION && PY_VERSION_HEX >= 0x030B0000 && defined(__has_include)
#if __has_include(<internal/pycore_frame.h>)
#define HAVE_INTERNAL_WALK 1
#endif
#endif
#ifndef HAVE_INTERNAL_WALK
#define HAVE_INTERNAL_WALK 0
#endif

/* The word that has the main thread look for pending calls: from 3.13 on Py_AddPendingCall sets it. */
#if TESTED_VERSION && PY_VERSION_HEX < 0x030D0000 && defined(__has_include)
#if __has_include(<internal/pycore_interp.h>)
#define HAVE_BREAKER 1
#endif
#endif
#ifndef HAVE_BREAKER
#define HAVE_BREAKER 0
#endif

/* In its place a signal, whose handling is public. */
#if PY_VERSION_HEX < 0x030D0000
#define HAVE_SIGNAL 1
#else
#define HAVE_SIGNAL 0
#endif

/* Whether the interpreter ends. Who asks for its lock from now on may never come back. */
static inline int
interpreter_ends(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

/* Whether what was tested of the version holds for the interpreter that runs: a release of it, whichever. */
static inline int
tested_version_runs(void)
{
    const char *running = Py_GetVersion(); /* "3.11.7 (main, ...", "3.12.0rc1 (..." */
    size_t major = strcspn(PY_VERSION, "."), minor = major + 1 + strcspn(PY_VERSION + major + 1, ".") + 1;
    if (!TESTED_VERSION || strncmp(running, PY_VERSION, minor) != 0) {
        return 0;
    }
    const char *rest = running + minor;
    rest += strspn(rest, "0123456789");
    return *rest == ' ' || *rest == '+';
}

/* Whether it is the very release that this was built for: only its structures are as the headers have them. */
static inline int
layouts_hold(void)
{
    const char *running = Py_GetVersion();
    size_t length = strlen(PY_VERSION);
    return TESTED_VERSION && strncmp(running, PY_VERSION, length) == 0 && running[length] == ' ';
}

#endif
