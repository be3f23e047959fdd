#include "kinds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../common/compat.h"

/* The packed name, as class_name() in base.py makes it. */
static int name_type(Kind *kind)
{
    PyTypeObject *type = kind->type;
    if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
        const char *name = type->tp_name;
        const char *full = strncmp(name, "builtins.", 9) == 0 ? name + 9 : name;
        return put_text(&kind->name, full, strlen(full));
    }
    PyObject *qualname = ((PyHeapTypeObject *)type)->ht_qualname;
    PyObject *module = plain_get(namespace_of(type), "__module__");
    if (module == NULL || qualname == NULL || !PyUnicode_CheckExact(qualname)) {
        return put_nil(&kind->name);
    }
    if (!PyUnicode_CheckExact(module) || PyUnicode_CompareWithASCIIString(module, "builtins") == 0) {
        return put_str(&kind->name, qualname);
    }
    PyObject *name = PyUnicode_FromFormat("%U.%U", module, qualname);
    if (name == NULL) {
        PyErr_Clear();
        return put_nil(&kind->name);
    }
    int error = put_str(&kind->name, name);
    Py_DECREF(name);
    return error;
}

/* How the size of its objects is had: the first __sizeof__ among its bases that is written in C and meant for it. */
static void measure_type(Kind *kind)
{
    PyTypeObject *type = kind->type;
    PyObject *mro = type->tp_mro;
    kind->size = SIZE_UNKNOWN;
    for (Py_ssize_t i = 0; mro != NULL && PyTuple_Check(mro) && i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        PyObject *method = PyType_Check(base) ? plain_get(namespace_of(base), "__sizeof__") : NULL;
        if (method == NULL || Py_TYPE(method) != &PyMethodDescr_Type) {
            continue;
        }
        PyTypeObject *owner = ((PyDescrObject *)method)->d_type;
        if (!PyType_IsSubtype(type, owner)) {
            continue; /* taken from another class */
        }
        PyMethodDef *definition = ((PyMethodDescrObject *)method)->d_method;
        kind->method = method;
        kind->function = definition->ml_meth;
        kind->size = definition->ml_flags == METH_NOARGS ? SIZE_FUNCTION : SIZE_CALL;
#if TESTED_VERSION
        int inline_values = 0;
#ifdef Py_TPFLAGS_INLINE_VALUES
        inline_values = (type->tp_flags & Py_TPFLAGS_INLINE_VALUES) != 0;
#endif
        if (owner == &PyBaseObject_Type && !inline_values) {
            kind->size = SIZE_BASIC; /* what object.__sizeof__ computes there */
        }
#endif
        break;
    }
    kind->overhead = class_overhead(type);
}

static int describe_type(const Types *types, Kind *kind)
{
    PyTypeObject *type = kind->type;
    measure_type(kind);
    if (type == &PyCode_Type) {
        kind->placed = PLACE_CODE;
    }
    else if (type == &PyFunction_Type) {
        kind->placed = PLACE_FUNCTION;
    }
    else if (type == &PyFrame_Type) {
        kind->placed = PLACE_FRAME;
    }
    else if (type == &PyGen_Type || type == &PyCoro_Type || type == &PyAsyncGen_Type) {
        kind->placed = PLACE_ATTRIBUTE;
        kind->attribute = type == &PyGen_Type ? "gi_code" : type == &PyCoro_Type ? "cr_code" : "ag_code";
    }
    else if (PyType_IsSubtype(type, &PyModule_Type)) {
        kind->placed = PLACE_MODULE;
    }
    else if (PyType_IsSubtype(type, &PyType_Type)) {
        kind->placed = PLACE_CLASS;
    }
    kind->collected = !(type->tp_flags & Py_TPFLAGS_HAVE_GC) || type->tp_traverse == NULL ? GC_NEVER
                      : type->tp_is_gc == NULL                                            ? GC_ALWAYS
                                                                                          : GC_ASK;
    int error = name_type(kind);
    long line;
    PyObject *file = place_of_class(&types->modules, type, &line);
    if (!error && file != NULL) {
        error = bytes_reserve(&kind->place, 16);
        if (!error) {
            kind->fields = 1;
            put_byte(&kind->place, 16);
            error = put_str(&kind->place, file);
        }
        if (!error && line >= 0 && !(error = bytes_reserve(&kind->place, 16))) {
            kind->fields = 2;
            put_byte(&kind->place, 17);
            put_unsigned(&kind->place, (uint64_t)line);
        }
    }
    return error;
}

static void kind_free(Kind *kind)
{
    free(kind->name.data);
    free(kind->place.data);
    free(kind);
}

Kind *kind_make(Types *types, PyTypeObject *type)
{
    Kind *kind = calloc(1, sizeof *kind);
    if (kind == NULL) {
        return NULL;
    }
    kind->type = type;
    if (describe_type(types, kind) || table_add(&types->kinds, (uintptr_t)type, (uintptr_t)kind) == NULL) {
        kind_free(kind);
        return NULL;
    }
    return kind;
}

void types_free(Types *types)
{
    for (size_t place = 0; place < table_places(&types->kinds); place++) {
        if (types->kinds.slots[place].key != 0) {
            kind_free((Kind *)(uintptr_t)types->kinds.slots[place].value);
        }
    }
    table_free(&types->kinds);
    modules_free(&types->modules);
}

Py_ssize_t size_of(Kind *kind, PyObject *object)
{
    Py_ssize_t size = -1;
    size_t overhead = kind->overhead;
    PyObject *answer = NULL;
    if (lacks_header(object)) {
        overhead -= COLLECTOR_HEADER;
    }
    switch (kind->size) {
    case SIZE_BASIC:
        size = kind->type->tp_basicsize;
        if (kind->type->tp_itemsize > 0) {
            size += Py_SIZE(object) * kind->type->tp_itemsize;
        }
        break;
    case SIZE_FUNCTION:
        answer = kind->function(object, NULL);
        break;
    case SIZE_CALL:
        answer = PyObject_CallFunctionObjArgs(kind->method, object, NULL);
        break;
    default:
        return -1;
    }
    if (answer != NULL) {
        size = PyLong_CheckExact(answer) ? PyLong_AsSsize_t(answer) : -1;
        Py_DECREF(answer);
    }
    if (size < 0) {
        PyErr_Clear();
        return -1;
    }
    return size + (Py_ssize_t)overhead;
}
