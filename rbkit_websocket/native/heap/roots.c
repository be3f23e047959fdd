#include "roots.h"

#include <errno.h>

#include "../common/gc_lists.h"

static int add_root(Walk *walk, PyObject *object)
{
    int fresh = seen_mark(&walk->seen, object);
    return fresh < 0 ? ENOMEM : fresh ? objects_push(&walk->roots, object) : 0;
}

#if HAVE_LISTS
static int add_from_lists(Walk *walk)
{
    GcLists *lists = find_lists();
    if (lists == NULL) {
        return ENOMEM;
    }
    for (int i = 3; i >= 0; i--) {
        GcHead *head = i < 3 ? &lists->generations[i].head : &lists->permanent.head;
        for (GcHead *at = GC_NODE(head->next); at != head; at = GC_NODE(at->next)) {
            int error = add_root(walk, (PyObject *)(at + 1));
            if (error) {
                return error;
            }
        }
    }
    return 0;
}
#endif

#if HAVE_VISIT
static int visit_root(PyObject *object, void *arg)
{
    Walk *walk = arg;
    walk->error = add_root(walk, object);
    return walk->error == 0;
}
#endif

int find_roots(Walk *walk, PyObject **list)
{
    int error = 0;
    *list = NULL;
#if HAVE_LISTS
    if (lists_are_known) {
        error = add_from_lists(walk);
        goto modules;
    }
#endif
#if HAVE_VISIT
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
#if HAVE_LISTS
modules:
#endif
    if (!error) {
        /* What has been frozen (gc.freeze) may not be told of, but all of it hangs on these. */
        PyObject *modules = PyImport_GetModuleDict();
        error = modules != NULL ? add_root(walk, modules) : 0;
    }
    return error;
}
