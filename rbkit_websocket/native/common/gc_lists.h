/* The collector's lists of the objects it tracks, where they are known. */
#ifndef RBKIT_GC_LISTS_H
#define RBKIT_GC_LISTS_H

#include <Python.h>

#include "compat.h"

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
#define NODE_OF(object) ((GcHead *)(object) - 1)

/* Whether they may be used: check_lists() has said so. */
extern int lists_are_known;

/* A new object comes last in the youngest list, so its successor is the head of that. */
static inline GcLists *lists_before(PyObject *newest)
{
    return (GcLists *)GC_NODE(NODE_OF(newest)->next);
}

/* The collector's lists; NULL without memory. */
GcLists *find_lists(void);

/* Whether they look as this file thinks they do: thresholds are where they should be, and lists are rings. */
int check_lists(void);

#endif
#endif
