#include "places.h"

#include <errno.h>
#include <stdlib.h>

#include "../common/compat.h"

PyObject *plain_get(PyObject *dict, const char *key)
{
    Py_ssize_t position = 0;
    PyObject *name, *value;
    if (dict == NULL || !PyDict_Check(dict)) {
        return NULL;
    }
    while (PyDict_Next(dict, &position, &name, &value)) {
        if (PyUnicode_CheckExact(name) && PyUnicode_CompareWithASCIIString(name, key) == 0) {
            return value;
        }
    }
    return NULL;
}

PyObject *namespace_of(PyTypeObject *type)
{
    PyObject *namespace = class_namespace(type);
    Py_XDECREF(namespace);
    return namespace;
}

PyObject *module_file(PyObject *module)
{
    if (!PyModule_Check(module)) {
        return NULL;
    }
    PyObject *file = plain_get(PyModule_GetDict(module), "__file__");
    return file != NULL && PyUnicode_CheckExact(file) ? file : NULL;
}

static uint64_t name_key(PyObject *name)
{
    return table_key((uint64_t)PyObject_Hash(name));
}

/* What is known of a module; NULL: nothing. */
static const Module *module_of(const Modules *modules, PyObject *name)
{
    const Table *table = &modules->by_name;
    for (TableSlot *slot = table_find(table, name_key(name)); slot != NULL; slot = table_next(table, slot)) {
        const Module *module = &modules->modules[slot->value];
        if (PyUnicode_Compare(module->name, name) == 0) {
            return module;
        }
    }
    return NULL;
}

int read_modules(Modules *modules)
{
    PyObject *dict = PyImport_GetModuleDict();
    PyObject *name, *module;
    Py_ssize_t position = 0;
    size_t count = 0, room = dict != NULL && PyDict_Check(dict) ? (size_t)PyDict_Size(dict) : 0;
    modules->modules = malloc((room + 1) * sizeof *modules->modules);
    if (modules->modules == NULL) {
        return ENOMEM;
    }
    while (count < room && PyDict_Next(dict, &position, &name, &module)) {
        if (PyUnicode_CheckExact(name)) {
            if (table_add(&modules->by_name, name_key(name), count) == NULL) {
                return ENOMEM;
            }
            modules->modules[count++] = (Module){name, module_file(module)};
        }
    }
    return 0;
}

void modules_free(Modules *modules)
{
    free(modules->modules);
    table_free(&modules->by_name);
}

PyObject *place_of_class(const Modules *modules, PyTypeObject *type, long *line)
{
    *line = -1;
    if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
        return NULL;
    }
    PyObject *dict = namespace_of(type);
    PyObject *module = plain_get(dict, "__module__");
    if (module == NULL || !PyUnicode_CheckExact(module)) {
        return NULL;
    }
    const Module *found = module_of(modules, module);
    PyObject *number = plain_get(dict, "__firstlineno__"); /* 3.13 and later */
    if (number != NULL && PyLong_CheckExact(number)) {
        *line = PyLong_AsLong(number);
        if (*line < 0) {
            PyErr_Clear();
            *line = -1;
        }
    }
    return found != NULL ? found->file : NULL;
}
