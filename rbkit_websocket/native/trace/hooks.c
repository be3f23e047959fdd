#include "hooks.h"

#include "../common/compat.h"
#include "events.h"

static destructor python_dealloc;

int find_originals(void)
{
#if HAVE_HOOKS
    if (release_that_runs() == RELEASE_UNKNOWN) {
        return 0;
    }
    PyObject *made = PyObject_CallFunction((PyObject *)&PyType_Type, "s(){}", "Made");
    if (made == NULL) {
        PyErr_Clear();
        return 0;
    }
    PyTypeObject *type = (PyTypeObject *)made;
    plain_alloc = type->tp_alloc;
    python_dealloc = type->tp_dealloc;
    free_tracked = type->tp_free;
    free_untracked = PyBaseObject_Type.tp_free;
    Py_DECREF(made);
    return free_tracked != free_untracked && PyBaseObject_Type.tp_alloc == plain_alloc &&
           PyType_Type.tp_alloc == plain_alloc && python_dealloc != PyBaseObject_Type.tp_dealloc;
#else
    return 0;
#endif
}

int may_be_hooked(PyTypeObject *type)
{
    return (type->tp_flags & Py_TPFLAGS_HEAPTYPE) && type->tp_dealloc == python_dealloc &&
           type->tp_alloc == plain_alloc && (type->tp_free == free_tracked || type->tp_free == free_untracked) &&
           !PyType_IsSubtype(type, &PyType_Type) &&
           /* The class of a module may be changed to and from that of all others, which is no class of ours to touch. */
           !PyType_IsSubtype(type, &PyModule_Type);
}

freefunc hook_of(freefunc original)
{
    return original == free_tracked ? hook_free_tracked : original == free_untracked ? hook_free_untracked : NULL;
}

void set_hooks(PyTypeObject *type)
{
    type->tp_free = hook_of(type->tp_free);
    type->tp_alloc = hook_alloc;
    if (CALLS_ARE_SPECIALIZED) {
        PyType_Modified(type); /* undoes those for this class */
    }
}

void remove_hooks(PyTypeObject *type)
{
    if (type->tp_alloc == hook_alloc || type->tp_alloc == hook_alloc_class) {
        type->tp_alloc = plain_alloc;
    }
    if (type->tp_free == hook_free_tracked) {
        type->tp_free = free_tracked;
    }
    else if (type->tp_free == hook_free_untracked) {
        type->tp_free = free_untracked;
    }
}
