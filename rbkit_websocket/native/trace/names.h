/* What classes are called, and which of them are asked for. */
#ifndef RBKIT_TRACE_NAMES_H
#define RBKIT_TRACE_NAMES_H

#include <Python.h>

/* The name of a class that is asked for, else NULL without an exception. */
PyObject *wanted_name(PyTypeObject *type, PyObject *patterns);

#endif
