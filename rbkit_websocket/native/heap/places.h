/* Where classes and modules are, read through slots and plain namespaces: no code of the application runs. */
#ifndef RBKIT_HEAP_PLACES_H
#define RBKIT_HEAP_PLACES_H

#include <Python.h>

#include "../common/table.h"

typedef struct {
    PyObject *name; /* borrowed from sys.modules */
    PyObject *file; /* borrowed, or NULL */
} Module;

typedef struct {
    Module *modules;
    Table by_name; /* their numbers, by the hash of the name */
} Modules;

/* The value of a plain string key, borrowed. Compares with exact strings only: a key of another type is not asked. */
PyObject *plain_get(PyObject *dict, const char *key);

/* A class's namespace, borrowed: the class keeps it. */
PyObject *namespace_of(PyTypeObject *type);

PyObject *module_file(PyObject *module);

/* The files of all modules, read once. */
int read_modules(Modules *modules);

void modules_free(Modules *modules);

/* Where a class is: file (borrowed; NULL if that is not known) and line (-1 so). */
PyObject *place_of_class(const Modules *modules, PyTypeObject *type, long *line);

#endif
