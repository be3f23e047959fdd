#include "hooks.h"

#include "../common/compat.h"
#include "events.h"

static destructor python_dealloc;

#if HAVE_HOOKS
/* Of types written in C: what makes their subclasses' objects without tp_alloc, or ends them without tp_free. */
#define MAX_SILENT 16
static struct {
    newfunc makes[MAX_SILENT];
    destructor ends[MAX_SILENT];
    int makes_count, ends_count;
} silent;

static int allocated, freed; /* by a trial */

static PyObject *trial_alloc(PyTypeObject *type, Py_ssize_t count)
{
    allocated++;
    return plain_alloc(type, count);
}

static void trial_free_tracked(void *object)
{
    freed++;
    free_tracked(object);
}

static void trial_free_untracked(void *object)
{
    freed++;
    free_untracked(object);
}

/* A new class; NULL without an exception. */
static PyTypeObject *make_class(PyTypeObject *base)
{
    PyObject *made = PyObject_CallFunction((PyObject *)&PyType_Type, "s(O){}", "Made", base);
    if (made == NULL) {
        PyErr_Clear();
    }
    return (PyTypeObject *)made;
}

/* Makes and drops an instance of a class that is made for it, and looks whether both slots are called. 0: no trial. */
static int try_base(PyTypeObject *base)
{
    PyTypeObject *type = make_class(base);
    if (type == NULL || type->tp_alloc != plain_alloc ||
        (type->tp_free != free_tracked && type->tp_free != free_untracked)) {
        Py_XDECREF(type);
        return 0;
    }
    freefunc original = type->tp_free;
    type->tp_alloc = trial_alloc;
    type->tp_free = original == free_tracked ? trial_free_tracked : trial_free_untracked;
    allocated = freed = 0;
    PyObject *none = PyTuple_New(0);
    PyObject *instance = none != NULL ? type->tp_new(type, none, NULL) : NULL;
    int made = instance != NULL;
    Py_XDECREF(none);
    Py_XDECREF(instance);
    type->tp_alloc = plain_alloc;
    type->tp_free = original;
    Py_DECREF(type);
    PyErr_Clear();
    if (made && allocated != 1) {
        silent.makes[silent.makes_count++] = base->tp_new;
    }
    if (made && freed != 1) {
        silent.ends[silent.ends_count++] = base->tp_dealloc;
    }
    return made;
}

/* Tries the types of Python itself from which classes are derived; other types are believed to do as documented. */
static int try_bases(void)
{
    PyTypeObject *bases[] = {
        &PyBaseObject_Type, &PyDict_Type,
        &PyList_Type,       &PySet_Type,
        &PyFrozenSet_Type,  &PyTuple_Type,
        &PyUnicode_Type,    &PyBytes_Type,
        &PyByteArray_Type,  &PyLong_Type,
        &PyFloat_Type,      &PyComplex_Type,
        &PyProperty_Type,   (PyTypeObject *)PyExc_Exception,
    };
    _Static_assert(sizeof bases / sizeof *bases <= MAX_SILENT, "there is a place for each");
    silent.makes_count = silent.ends_count = 0;
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        if (!try_base(bases[i])) {
            return 0;
        }
    }
    return silent.makes_count == 0 || silent.makes[0] != PyBaseObject_Type.tp_new;
}
#endif

int find_originals(void)
{
#if HAVE_HOOKS
    if (release_that_runs() == RELEASE_UNKNOWN) {
        return 0;
    }
    PyTypeObject *type = make_class(&PyBaseObject_Type);
    if (type == NULL) {
        return 0;
    }
    plain_alloc = type->tp_alloc;
    python_dealloc = type->tp_dealloc;
    free_tracked = type->tp_free;
    free_untracked = PyBaseObject_Type.tp_free;
    Py_DECREF(type);
    return free_tracked != free_untracked && PyBaseObject_Type.tp_alloc == plain_alloc &&
           PyType_Type.tp_alloc == plain_alloc && python_dealloc != PyBaseObject_Type.tp_dealloc && try_bases();
#else
    return 0;
#endif
}

int is_silent(PyTypeObject *type)
{
#if HAVE_HOOKS
    if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE) || type->tp_dealloc != python_dealloc) {
        return 0;
    }
    for (PyTypeObject *base = type->tp_base; base != NULL; base = base->tp_base) {
        for (int i = 0; i < silent.makes_count; i++) {
            if (base->tp_new == silent.makes[i]) {
                return 1;
            }
        }
        for (int i = 0; i < silent.ends_count; i++) {
            if (base->tp_dealloc == silent.ends[i]) {
                return 1;
            }
        }
    }
#else
    (void)type;
#endif
    return 0;
}

int may_be_hooked(PyTypeObject *type)
{
    return (type->tp_flags & Py_TPFLAGS_HEAPTYPE) && type->tp_dealloc == python_dealloc &&
           type->tp_alloc == plain_alloc && (type->tp_free == free_tracked || type->tp_free == free_untracked) &&
           !is_silent(type) && !PyType_IsSubtype(type, &PyType_Type) &&
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
