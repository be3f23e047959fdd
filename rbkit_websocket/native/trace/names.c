#include "names.h"

#include <string.h>

#include "../common/compat.h"

/* Shell patterns with * alone; both are UTF-8. */
static int matches(const char *pattern, const char *text)
{
    const char *star = NULL, *retry = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = text;
        }
        else if (*pattern == *text) {
            pattern++;
            text++;
        }
        else if (star != NULL) {
            pattern = star;
            text = ++retry;
        }
        else {
            return 0;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

/* A new str, or NULL without an exception: __module__ of a class, where it is an exact str. */
static PyObject *module_of(PyTypeObject *type)
{
    if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
        const char *dot = strrchr(type->tp_name, '.');
        PyObject *name = dot != NULL ? PyUnicode_DecodeUTF8(type->tp_name, dot - type->tp_name, "replace") : NULL;
        PyErr_Clear();
        return name;
    }
    PyObject *namespace = class_namespace(type);
    PyObject *module = namespace != NULL ? PyDict_GetItemString(namespace, "__module__") : NULL;
    Py_XINCREF(module);
    Py_XDECREF(namespace);
    if (module != NULL && !PyUnicode_CheckExact(module)) {
        Py_CLEAR(module);
    }
    return module;
}

/* A new str, or NULL without an exception: module.Qualified.Name, builtins bare, as class_name() of base.py has it. */
static PyObject *name_of(PyTypeObject *type, PyObject *module)
{
    PyObject *name;
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) {
        name = ((PyHeapTypeObject *)type)->ht_qualname;
        Py_XINCREF(name);
    }
    else {
        const char *dot = strrchr(type->tp_name, '.');
        name = PyUnicode_FromString(dot != NULL ? dot + 1 : type->tp_name);
    }
    if (name != NULL && module != NULL && PyUnicode_CompareWithASCIIString(module, "builtins") != 0) {
        Py_SETREF(name, PyUnicode_FromFormat("%U.%U", module, name));
    }
    PyErr_Clear();
    return name;
}

PyObject *wanted_name(PyTypeObject *type, PyObject *patterns)
{
    PyObject *module = module_of(type), *name = name_of(type, module);
    const char *name_text = name != NULL ? PyUnicode_AsUTF8(name) : NULL;
    const char *module_text = module != NULL ? PyUnicode_AsUTF8(module) : "builtins";
    int wanted = 0;
    for (Py_ssize_t i = 0; name_text != NULL && !wanted && i < PyTuple_GET_SIZE(patterns); i++) {
        const char *pattern = PyUnicode_AsUTF8(PyTuple_GET_ITEM(patterns, i));
        wanted = pattern != NULL && (matches(pattern, name_text) || (module_text && matches(pattern, module_text)));
    }
    PyErr_Clear(); /* a name with a lone surrogate */
    Py_XDECREF(module);
    if (!wanted) {
        Py_CLEAR(name);
    }
    return name;
}
