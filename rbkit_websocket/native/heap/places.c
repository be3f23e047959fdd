#include "places.h"

#include <errno.h>
#include <stdlib.h>

#include "seen.h"

PyObject *
plain_get(PyObject *dict, const char *key)
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

PyObject *
namespace_of(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *dict = PyType_GetDict(type);
    if (dict == NULL) {
        PyErr_Clear();
        return NULL;
    }
    Py_DECREF(dict);
    return dict;
#else
    return type->tp_dict;
#endif
}

PyObject *
module_file(PyObject *module)
{
    if (!PyModule_Check(module)) {
        return NULL;
    }
    PyObject *file = plain_get(PyModule_GetDict(module), "__file__");
    return file != NULL && PyUnicode_CheckExact(file) ? file : NULL;
}

static Module *
module_slot(const Modules *modules, PyObject *name, Py_hash_t hash)
{
    size_t position = scatter((uintptr_t)hash) & modules->mask;
    while (modules->slots[position].name != NULL &&
           (modules->slots[position].hash != hash || PyUnicode_Compare(modules->slots[position].name, name) != 0)) {
        position = (position + 1) & modules->mask;
    }
    return &modules->slots[position];
}

int
read_modules(Modules *modules)
{
    PyObject *dict = PyImport_GetModuleDict();
    PyObject *name, *module;
    Py_ssize_t position = 0;
    size_t count = dict != NULL && PyDict_Check(dict) ? (size_t)PyDict_Size(dict) : 0;
    modules->mask = 63;
    while (modules->mask < count * 2) {
        modules->mask = modules->mask * 2 + 1;
    }
    modules->slots = calloc(modules->mask + 1, sizeof(Module));
    if (modules->slots == NULL) {
        return ENOMEM;
    }
    while (count > 0 && PyDict_Next(dict, &position, &name, &module)) {
        if (PyUnicode_CheckExact(name)) {
            Py_hash_t hash = PyObject_Hash(name);
            *module_slot(modules, name, hash) = (Module){name, module_file(module), hash};
        }
    }
    return 0;
}

PyObject *
place_of_class(const Modules *modules, PyTypeObject *type, long *line)
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
    Module *found = module_slot(modules, module, PyObject_Hash(module));
    PyObject *number = plain_get(dict, "__firstlineno__"); /* 3.13 and later */
    if (number != NULL && PyLong_CheckExact(number)) {
        *line = PyLong_AsLong(number);
        if (*line < 0) {
            PyErr_Clear();
            *line = -1;
        }
    }
    return found->name != NULL ? found->file : NULL;
}
