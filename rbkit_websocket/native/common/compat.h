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
 *
 * Locks and interpreters, for all three modules. What they know is the process's, and the interpreter's lock guards it.
 * So there are no extensions for builds without that lock, and none is imported by an interpreter that has another one
 * than the first (INTERPRETER_SLOT; before 3.12 all have the same). Interpreters that share the lock share the state: the
 * sampler runs for the first one only (is_first_interpreter()), the tracer for the one that has started it, and a walk
 * through the heap shows what the lists of the calling interpreter's collector have.
 */
#ifndef RBKIT_COMPAT_H
#define RBKIT_COMPAT_H

#include <Python.h>
#include <frameobject.h>
#include <string.h>

#ifdef Py_GIL_DISABLED
#error "the extensions rest on the interpreter's lock"
#endif

#define TESTED_VERSIONS "CPython 3.11 to 3.13"

/* From the first release on: what comes before one may be laid out in another way. */
#if PY_VERSION_HEX >= 0x030B00F0 && PY_VERSION_HEX < 0x030E0000 && PY_RELEASE_LEVEL == PY_RELEASE_LEVEL_FINAL &&       \
    !defined(PYPY_VERSION)
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
#if TESTED_VERSION && defined(__has_include)
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
static inline int interpreter_ends(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

/* Whether what was tested of the version holds for the interpreter that runs: a release of it, whichever. */
static inline int tested_version_runs(void)
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
static inline int layouts_hold(void)
{
    const char *running = Py_GetVersion();
    size_t length = strlen(PY_VERSION);
    return TESTED_VERSION && strncmp(running, PY_VERSION, length) == 0 && running[length] == ' ';
}

/* -- what has changed between versions, by what there is */

/* Among the interpreter's own frames: some are entries from C. Each has its executable, and threads lead to it. */
#define FRAMES_OF_C (PY_VERSION_HEX >= 0x030C0000)
#define FRAMES_HAVE_EXECUTABLE (PY_VERSION_HEX >= 0x030D0000)

/* PyUnstable_GC_VisitObjects. */
#define HAVE_VISIT (PY_VERSION_HEX >= 0x030C0000)

/* A call that has been specialized for a class makes instances without tp_alloc. */
#define CALLS_ARE_SPECIALIZED (PY_VERSION_HEX >= 0x030D0000)

/* A thread's state has the kernel's number of the thread. */
#if defined(PY_HAVE_THREAD_NATIVE_ID)
#define THREADS_HAVE_NUMBERS 1
#else
#define THREADS_HAVE_NUMBERS 0
#endif

/* Of a module's slots: none but interpreters that share the first one's lock. */
#if PY_VERSION_HEX >= 0x030C0000
#define INTERPRETER_SLOT {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#else
#define INTERPRETER_SLOT
#endif

static inline int is_first_interpreter(void)
{
    return PyInterpreterState_Get() == PyInterpreterState_Main();
}

/* The namespace of a class, a new reference; NULL without an exception. */
static inline PyObject *class_namespace(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *namespace = PyType_GetDict(type);
    if (namespace == NULL) {
        PyErr_Clear();
    }
    return namespace;
#else
    Py_XINCREF(type->tp_dict);
    return type->tp_dict;
#endif
}

/* What a weak reference leads to, a new reference; NULL: it has gone. */
static inline PyObject *weak_target(PyObject *weak)
{
    PyObject *target = NULL;
#if PY_VERSION_HEX >= 0x030D0000
    (void)PyWeakref_GetRef(weak, &target);
#else
    target = PyWeakref_GetObject(weak);
    Py_XINCREF(target);
    if (target == Py_None) {
        Py_CLEAR(target);
    }
#endif
    return target;
}

#define COLLECTOR_HEADER (2 * sizeof(uintptr_t))

/* What sys.getsizeof adds to __sizeof__ of most objects of a class: what is in front of them. */
static inline size_t class_overhead(PyTypeObject *type)
{
    size_t overhead = type->tp_flags & Py_TPFLAGS_HAVE_GC ? COLLECTOR_HEADER : 0;
#if PY_VERSION_HEX >= 0x030C0000
    if (type->tp_flags & (Py_TPFLAGS_MANAGED_WEAKREF | Py_TPFLAGS_MANAGED_DICT)) {
        overhead += 2 * sizeof(PyObject *);
    }
#else
    if (type->tp_flags & Py_TPFLAGS_MANAGED_DICT) {
        overhead += 2 * sizeof(PyObject *);
    }
#endif
    return overhead;
}

/* Whether sys.getsizeof leaves the collector's header of the class's objects out for this one. */
static inline int lacks_header(PyObject *object)
{
#if PY_VERSION_HEX >= 0x030D0000
    /* A static type has none; 3.11 and 3.12 count one nevertheless. So all do of other objects that may have none (a
     * greenlet that runs). */
    return PyType_Check(object) && !PyType_HasFeature((PyTypeObject *)object, Py_TPFLAGS_HEAPTYPE);
#else
    (void)object;
    return 0;
#endif
}

#endif
