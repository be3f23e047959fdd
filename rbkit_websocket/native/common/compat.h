/* What may be used beyond CPython's public functions, and where: the one place that decides.
 *
 * A private way is open on the releases that the tests run on, and on those between them (RELEASES). There is no telling
 * what it does on another one, and what it does may be the end of the process: so a minor version that is not there gets
 * the public functions and nothing else until its row has been entered, when the tests have run on it. The interpreter's
 * reference tracer is documented, but counts as private: a later version may call it with events that it does not know.
 *
 * Versions are told apart twice. When this is compiled, by the headers, for what minor versions differ in. When it is
 * loaded, by the interpreter that runs, whose release is mostly not that of the headers: one wheel serves a whole minor
 * version. Structures may change within one, as those of the collector have in 3.14: before the oldest release that is
 * tested nothing is open, and behind the newest one only if all checks of a module at its import agree.
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

/* Of each minor version of Python 3 the oldest and the newest patch release that the tests run on. 3.14 had another
 * collector before, in structures that look the same. */
#define RELEASES(release) release(11, 2, 2) release(12, 1, 1) release(13, 0, 0) release(14, 10, 10) release(15, 2, 2)

#define IS_COMPILED(minor, oldest, newest) || PY_MINOR_VERSION == minor
#define IS_OLDEST(minor, oldest, newest) +(PY_MINOR_VERSION == minor ? oldest : 0)
#define IS_NEWEST(minor, oldest, newest) +(PY_MINOR_VERSION == minor ? newest : 0)
#define IN_WORDS(minor, oldest, newest) " 3." #minor "." #oldest ","

#define TESTED_RELEASES "CPython" RELEASES(IN_WORDS) " or later patch releases of these"

/* From the first release on: what comes before one may be laid out in another way. */
#if PY_MAJOR_VERSION == 3 && (0 RELEASES(IS_COMPILED)) && PY_RELEASE_LEVEL == PY_RELEASE_LEVEL_FINAL &&                \
    !defined(PYPY_VERSION)
#define TESTED_VERSION 1
#else
#define TESTED_VERSION 0
#endif

/* The release that runs: none of those tested, a newer one of the same minor version, or one of them. */
enum { RELEASE_UNKNOWN, RELEASE_NEWER, RELEASE_TESTED };

static inline int release_that_runs(void)
{
    unsigned long minor = (Py_Version >> 16) & 0xFF, level = (Py_Version >> 4) & 0xF;
    int patch = (Py_Version >> 8) & 0xFF;
    if (!TESTED_VERSION || minor != PY_MINOR_VERSION || level != PY_RELEASE_LEVEL_FINAL ||
        patch < 0 RELEASES(IS_OLDEST)) {
        return RELEASE_UNKNOWN;
    }
    return patch > 0 RELEASES(IS_NEWEST) ? RELEASE_NEWER : RELEASE_TESTED;
}

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

/* Where it is among the interpreter's own. */
#define BREAKER_IS_BEHIND_BUILTINS (PY_VERSION_HEX >= 0x030C0000)

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

/* -- what has changed between versions, by what there is */

/* Among the interpreter's own frames: some are entries from C. Each has its executable, and threads lead to it. That is
 * a tagged reference. They have a header of their own. */
#define FRAMES_OF_C (PY_VERSION_HEX >= 0x030C0000)
#define FRAMES_HAVE_EXECUTABLE (PY_VERSION_HEX >= 0x030D0000)
#define FRAMES_HAVE_TAGS (PY_VERSION_HEX >= 0x030E0000)

/* Among the collector's lists: a pointer to the youngest. In front of its switches: what waits to be freed. Behind its
 * statistics: who collects. */
#define LISTS_NAME_YOUNGEST (PY_VERSION_HEX < 0x030E0000)
#define COLLECTOR_HAS_TRASH (PY_VERSION_HEX < 0x030F0000)
#define COLLECTOR_TELLS_FRAME (PY_VERSION_HEX >= 0x030F0000)

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
