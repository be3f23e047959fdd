/* The collector's lists of the objects it tracks, where they are known. */
#ifndef RBKIT_GC_LISTS_H
#define RBKIT_GC_LISTS_H

#include <Python.h>

#include "compat.h"

/* Whether they may be used: check_lists() has said so. */
extern int lists_are_known;

/* Whether they look as this file thinks they do: what the module gc tells is where it should be, and lists are rings. */
int check_lists(void);

#if HAVE_LISTS
/* Of Include/internal/pycore_gc.h what is needed, and what tells whether it is where it is thought to be. */
typedef struct GcHead {
    uintptr_t next, previous;
} GcHead;

typedef struct {
    GcHead head;
    int threshold, count;
} GcGeneration;

typedef struct {
    GcGeneration generations[3];
#if LISTS_NAME_YOUNGEST
    GcHead *generation0;
#endif
    GcGeneration permanent;
} GcLists;

typedef struct {
#if COLLECTOR_HAS_TRASH
    void *trash;
    int nesting;
#endif
    int enabled, debug;
    GcLists lists;
#if COLLECTOR_TELLS_FRAME
    void *statistics;
    int collecting;
    void *frame;
#else
    Py_ssize_t statistics[3][3];
    int collecting;
#endif
    PyObject *garbage, *callbacks;
} Collector;

/* The lowest bits of both fields are flags. */
#define GC_NODE(value) ((GcHead *)((value) & ~(uintptr_t)3))
#define NODE_OF(object) ((GcHead *)(object) - 1)

/* A new object comes last in the youngest list, so its successor is the head of that. */
static inline GcLists *lists_before(PyObject *newest)
{
    return (GcLists *)GC_NODE(NODE_OF(newest)->next);
}

/* The collector's lists; NULL without memory. */
GcLists *find_lists(void);

#endif
#endif
