#include "gc_lists.h"

#if HAVE_LISTS

int lists_are_known = 0;

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

int check_lists(void)
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
