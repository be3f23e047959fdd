#include "classes.h"

#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "hooks.h"
#include "names.h"

/* Enters a class; takes the name. -1 with an exception. */
static int enter_class(PyTypeObject *type, PyObject *name)
{
    if (trace.class_count == trace.class_room) {
        size_t room = trace.class_room ? trace.class_room * 2 : 256;
        Class *classes = realloc(trace.classes, room * sizeof(Class));
        if (classes == NULL) {
            Py_XDECREF(name);
            PyErr_NoMemory();
            return -1;
        }
        trace.classes = classes;
        trace.class_room = room;
    }
    PyObject *reference = PyWeakref_NewRef((PyObject *)type, trace.on_death);
    size_t index = trace.class_count; /* after what may have run anything */
    if (reference == NULL || index >= trace.class_room ||
        table_add(&trace.by_reference, (uintptr_t)reference, index) == NULL) {
        Py_XDECREF(reference);
        Py_XDECREF(name);
        if (!PyErr_Occurred()) {
            PyErr_NoMemory();
        }
        return -1;
    }
    trace.classes[index] = (Class){.type = type, .reference = reference, .name = name};
    trace.class_count++;
    if (name != NULL && table_add(&trace.by_type, (uintptr_t)type, index) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

int consider_class(PyTypeObject *type)
{
    if (table_find(&trace.by_type, (uintptr_t)type) != NULL) {
        return 0;
    }
    if (trace.mechanism == BY_HOOKS && PyType_IsSubtype(type, &PyType_Type) && type->tp_alloc == plain_alloc) {
        /* A metaclass: its instances are classes that are born later. */
        if (enter_class(type, NULL)) {
            return -1;
        }
        type->tp_alloc = hook_alloc_class;
        return 0;
    }
    PyObject *name = wanted_name(type, trace.patterns);
    if (name == NULL) {
        return 0;
    }
    if (trace.mechanism == BY_HOOKS && !may_be_hooked(type)) {
        if (!is_silent(type)) {
            trace.refused++;
        }
        else if (PySet_GET_SIZE(trace.unseen) < MAX_UNSEEN && PySet_Add(trace.unseen, name)) {
            PyErr_Clear();
        }
        Py_DECREF(name);
        return 0;
    }
    if (enter_class(type, name)) {
        return -1;
    }
    if (trace.mechanism == BY_HOOKS) {
        set_hooks(type);
    }
    return 1;
}

void process_newborn(PyObject *released)
{
    size_t count = trace.newborn_count;
    PyTypeObject **types = count > 0 ? malloc(count * sizeof(types[0])) : NULL;
    if (types == NULL) {
        return;
    }
    /* Taken out first: what follows may make classes, let other threads in, and even end the tracing. */
    memcpy(types, trace.newborn, count * sizeof(types[0]));
    trace.newborn_count = 0;
    for (size_t i = 0; i < count; i++) {
        PyTypeObject *type = types[i];
        int ready = (type->tp_flags & Py_TPFLAGS_READY) != 0;
        if (trace.mechanism == OFF) {
            continue;
        }
        if (ready) {
            if (consider_class(type) < 0) {
                PyErr_Clear();
            }
        }
        else if (Py_REFCNT(type) > 1 && trace.newborn_count < MAX_NEWBORN) {
            trace.newborn[trace.newborn_count++] = type; /* still being made: the next time */
            types[i] = NULL;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (types[i] != NULL && released != NULL && PyList_Append(released, (PyObject *)types[i])) {
            PyErr_Clear();
        }
        Py_XDECREF(types[i]);
    }
    free(types);
}

/* A class has gone: nothing of it is touched any more. What is left of its instances ends by their own identity. */
static PyObject *class_died(PyObject *Py_UNUSED(module), PyObject *reference)
{
    TableSlot *slot = table_find(&trace.by_reference, (uintptr_t)reference);
    if (slot != NULL) {
        Class *class = &trace.classes[slot->value];
        TableSlot *known = class->name != NULL ? table_find(&trace.by_type, (uintptr_t)class->type) : NULL;
        if (known != NULL) {
            table_remove(&trace.by_type, known);
        }
        table_remove(&trace.by_reference, slot);
        class->type = NULL;
        Py_CLEAR(class->reference);
    }
    Py_RETURN_NONE;
}

PyMethodDef class_died_method = {"class_died", class_died, METH_O, NULL};

/* Python compares tp_free before it lets obj.__class__ or cls.__bases__ be changed, so two classes that were alike stay
 * alike: the other one gets the hook as well, or where it must not be touched, the first one gives its own back. */
static void make_alike(PyTypeObject *one, PyTypeObject *other)
{
    freefunc a = one->tp_free, b = other->tp_free;
    if (a == b) {
        return;
    }
    if (hook_of(a) == b || hook_of(b) == a) {
        PyTypeObject *hooked = hook_of(a) == b ? other : one, *bare = hooked == one ? other : one;
        if ((bare->tp_flags & Py_TPFLAGS_HEAPTYPE) && enter_class(bare, NULL) == 0) {
            bare->tp_free = hooked->tp_free;
            return;
        }
        PyErr_Clear();
        remove_hooks(hooked);
        trace.refused++;
    }
}

int on_audit(const char *event, PyObject *arguments, void *Py_UNUSED(data))
{
    if (trace.mechanism == OFF || strcmp(event, "object.__setattr__") != 0 || !PyTuple_Check(arguments) ||
        PyTuple_GET_SIZE(arguments) != 3 || PyInterpreterState_Get() != trace.interpreter) {
        return 0;
    }
    PyObject *object = PyTuple_GET_ITEM(arguments, 0), *name = PyTuple_GET_ITEM(arguments, 1);
    PyObject *value = PyTuple_GET_ITEM(arguments, 2);
    if (!PyUnicode_Check(name)) {
        return 0;
    }
    if (PyUnicode_CompareWithASCIIString(name, "__module__") == 0 && PyType_Check(object)) {
        /* As collections.namedtuple does: the class belongs to this module from now on. */
        if (table_find(&trace.by_type, (uintptr_t)object) == NULL) {
            note_class(object);
        }
    }
    else if (trace.mechanism == BY_REFERENCES) {
        return 0;
    }
    else if (PyUnicode_CompareWithASCIIString(name, "__class__") == 0 && PyType_Check(value)) {
        make_alike(Py_TYPE(object), (PyTypeObject *)value);
    }
    else if (PyUnicode_CompareWithASCIIString(name, "__bases__") == 0 && PyType_Check(object) && PyTuple_Check(value)) {
        PyTypeObject *base = ((PyTypeObject *)object)->tp_base;
        for (Py_ssize_t i = 0; base != NULL && i < PyTuple_GET_SIZE(value); i++) {
            PyObject *other = PyTuple_GET_ITEM(value, i);
            if (PyType_Check(other)) {
                make_alike(base, (PyTypeObject *)other);
            }
        }
    }
    return 0;
}

static int newborn_call(void *Py_UNUSED(argument))
{
    trace.call_scheduled = 0;
    if (trace.mechanism != OFF && PyInterpreterState_Get() == trace.interpreter) {
        process_newborn(NULL);
    }
    return 0;
}

void note_class(PyObject *class)
{
    if (trace.newborn_count == MAX_NEWBORN) {
        trace.newborn_lost = 1;
        return;
    }
    Py_INCREF(class);
    trace.newborn[trace.newborn_count++] = (PyTypeObject *)class;
    if (!trace.call_scheduled) {
        trace.call_scheduled = Py_AddPendingCall(newborn_call, NULL) == 0;
    }
}
