/* Where the walk begins: what the collector knows. */
#ifndef RBKIT_HEAP_ROOTS_H
#define RBKIT_HEAP_ROOTS_H

#include "_heap_walk.h"

#if PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED) && !defined(PYPY_VERSION)
#define KNOWN_LISTS 1
#else
#define KNOWN_LISTS 0
#endif

static int
add_root(Walk *walk, PyObject *object)
{
    int fresh = seen_mark(&walk->seen, object);
    return fresh < 0 ? ENOMEM : fresh ? objects_push(&walk->roots, object) : 0;
}

#if KNOWN_LISTS
/* Include/internal/pycore_gc.h, the same from 3.9 to 3.13: generations[3], a pointer, and the permanent generation. */
typedef struct GcHead {
    uintptr_t next, previous;
} GcHead;

typedef struct {
    GcHead head;
    int threshold, count;
} GcGeneration;

typedef struct {
    GcGeneration generations[3];
    GcHead *generation0;
    GcGeneration permanent;
} GcLists;

#define GC_POINTER(value) ((GcHead *)((value) & ~(uintptr_t)3))

static int lists_are_known = 0;

/* The collector's lists: a new object comes last in the youngest, so its successor is the head of that. */
static GcLists *
find_lists(void)
{
    PyObject *probe = PyList_New(0);
    if (probe == NULL) {
        PyErr_Clear();
        return NULL;
    }
    GcLists *lists = (GcLists *)GC_POINTER(((GcHead *)probe - 1)->next);
    Py_DECREF(probe);
    return lists;
}

/* Whether they look as this file thinks they do: thresholds are where they should be, and lists are rings. */
static int
check_lists(void)
{
    long expected[3];
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *threshold = gc != NULL ? PyObject_CallMethod(gc, "get_threshold", NULL) : NULL;
    Py_XDECREF(gc);
    if (threshold == NULL || !PyTuple_Check(threshold) || PyTuple_GET_SIZE(threshold) != 3) {
        PyErr_Clear();
        Py_XDECREF(threshold);
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        expected[i] = PyLong_AsLong(PyTuple_GET_ITEM(threshold, i));
    }
    Py_DECREF(threshold);
    GcLists *lists = find_lists();
    if (lists == NULL || (uintptr_t)lists->generation0 != (uintptr_t)lists) {
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        GcGeneration *generation = i < 3 ? &lists->generations[i] : &lists->permanent;
        GcHead *next = GC_POINTER(generation->head.next), *previous = GC_POINTER(generation->head.previous);
        if (next == NULL || previous == NULL || GC_POINTER(next->previous) != &generation->head ||
            GC_POINTER(previous->next) != &generation->head) {
            return 0;
        }
        if (i < 3 && generation->threshold != expected[i]) {
            return 0;
        }
    }
    return 1;
}

static int
add_from_lists(Walk *walk)
{
    GcLists *lists = find_lists();
    if (lists == NULL) {
        return ENOMEM;
    }
    for (int i = 3; i >= 0; i--) {
        GcHead *head = i < 3 ? &lists->generations[i].head : &lists->permanent.head;
        for (GcHead *at = GC_POINTER(head->next); at != head; at = GC_POINTER(at->next)) {
            int error = add_root(walk, (PyObject *)(at + 1));
            if (error) {
                return error;
            }
        }
    }
    return 0;
}
#endif

#if PY_VERSION_HEX >= 0x030C0000
static int
visit_root(PyObject *object, void *arg)
{
    Walk *walk = arg;
    walk->error = add_root(walk, object);
    return walk->error == 0;
}
#endif

/* Fills the roots. `list` gets what keeps them, or NULL; it is nobody else's, and no root. */
static int
find_roots(Walk *walk, PyObject **list)
{
    int error = 0;
    *list = NULL;
#if KNOWN_LISTS
    if (lists_are_known) {
        error = add_from_lists(walk);
        goto modules;
    }
#endif
#if PY_VERSION_HEX >= 0x030C0000
    PyUnstable_GC_VisitObjects(visit_root, walk);
    error = walk->error;
#else
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *found = gc != NULL ? PyObject_CallMethod(gc, "get_objects", NULL) : NULL;
    Py_XDECREF(gc);
    if (found == NULL || !PyList_Check(found)) {
        PyErr_Clear();
        Py_XDECREF(found);
        return ENOMEM;
    }
    *list = found;
    for (Py_ssize_t i = 0; !error && i < PyList_GET_SIZE(found); i++) {
        error = add_root(walk, PyList_GET_ITEM(found, i));
    }
#endif
#if KNOWN_LISTS
modules:
#endif
    if (!error) {
        /* What has been frozen (gc.freeze) may not be told of, but all of it hangs on these. */
        PyObject *modules = PyImport_GetModuleDict();
        error = modules != NULL ? add_root(walk, modules) : 0;
    }
    return error;
}

#endif
