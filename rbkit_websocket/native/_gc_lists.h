/* The collector's lists of the objects it tracks, where they are known. */
#ifndef RBKIT_GC_LISTS_H
#define RBKIT_GC_LISTS_H

#include <Python.h>

#include "_compat.h"

#if HAVE_LISTS
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

/* The lowest bits of both fields are flags. */
#define GC_NODE(value) ((GcHead *)((value) & ~(uintptr_t)3))
#define NODE_OF(object) ((GcHead *)(object)-1)

static int lists_are_known = 0;

/* A new object comes last in the youngest list, so its successor is the head of that. */
static GcLists *
lists_before(PyObject *newest)
{
    return (GcLists *)GC_NODE(NODE_OF(newest)->next);
}

/* The collector's lists; NULL without memory. */
static GcLists *
find_lists(void)
{
    PyObject *probe = PyList_New(0);
    if (probe == NULL) {
        PyErr_Clear();
        return NULL;
    }
    GcLists *lists = lists_before(probe);
    Py_DECREF(probe);
    return lists;
}

/* Whether they look as this file thinks they do: thresholds are where they should be, and lists are rings. */
static int
check_lists(void)
{
    if (!layouts_hold()) {
        return 0;
    }
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
        GcHead *next = GC_NODE(generation->head.next), *previous = GC_NODE(generation->head.previous);
        if (next == NULL || previous == NULL || GC_NODE(next->previous) != &generation->head ||
            GC_NODE(previous->next) != &generation->head) {
            return 0;
        }
        if (i < 3 && generation->threshold != expected[i]) {
            return 0;
        }
    }
    return 1;
}

#endif
#endif
