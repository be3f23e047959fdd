#include "gc_lists.h"

#include <stddef.h>

int lists_are_known = 0;

#if HAVE_LISTS
GcLists *find_lists(void)
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

/* What gc.NAME() gives, a new reference; or gc.NAME. */
static PyObject *told_by_gc(const char *name, int call)
{
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *told = gc == NULL ? NULL : call ? PyObject_CallMethod(gc, name, NULL) : PyObject_GetAttrString(gc, name);
    Py_XDECREF(gc);
    return told;
}

/* Whether what is in front of the lists, in them and behind them is what gc tells. */
static int facts_agree(GcLists *lists)
{
    Collector *collector = (Collector *)((char *)lists - offsetof(Collector, lists));
    PyObject *thresholds = told_by_gc("get_threshold", 1), *debug = told_by_gc("get_debug", 1);
    PyObject *garbage = told_by_gc("garbage", 0), *callbacks = told_by_gc("callbacks", 0);
    int agree = thresholds != NULL && PyTuple_Check(thresholds) && PyTuple_GET_SIZE(thresholds) == 3 && debug != NULL &&
                garbage != NULL && callbacks != NULL;
    for (int i = 0; agree && i < 3; i++) {
        agree = lists->generations[i].threshold == PyLong_AsLong(PyTuple_GET_ITEM(thresholds, i));
    }
    agree = agree && collector->enabled == PyGC_IsEnabled() && collector->debug == PyLong_AsLong(debug) &&
            (collector->collecting & ~1) == 0 && collector->garbage == garbage && collector->callbacks == callbacks;
    Py_XDECREF(thresholds);
    Py_XDECREF(debug);
    Py_XDECREF(garbage);
    Py_XDECREF(callbacks);
    PyErr_Clear();
    return agree;
}

int check_lists(void)
{
    if (release_that_runs() == RELEASE_UNKNOWN) {
        return 0;
    }
    GcLists *lists = find_lists();
    if (lists == NULL || !facts_agree(lists)) {
        return 0;
    }
#if LISTS_NAME_YOUNGEST
    if ((uintptr_t)lists->generation0 != (uintptr_t)lists) {
        return 0;
    }
#endif
    for (int i = 0; i < 4; i++) {
        GcGeneration *generation = i < 3 ? &lists->generations[i] : &lists->permanent;
        GcHead *next = GC_NODE(generation->head.next), *previous = GC_NODE(generation->head.previous);
        if (next == NULL || previous == NULL || GC_NODE(next->previous) != &generation->head ||
            GC_NODE(previous->next) != &generation->head) {
            return 0;
        }
    }
    return 1;
}
#else
int check_lists(void)
{
    return 0;
}
#endif
