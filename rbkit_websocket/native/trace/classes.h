/* Which classes are looked at: those asked for, and those born since. */
#ifndef RBKIT_TRACE_CLASSES_H
#define RBKIT_TRACE_CLASSES_H

#include <Python.h>

/* 1 if the class is looked at from now on, 0 if not, -1 with an exception. */
int consider_class(PyTypeObject *type);

/* A class is being made: its slots are set later, so it is looked at between two bytecodes. */
void note_class(PyObject *class);

/* Looks at the classes that have been made; those looked at go to the list, if there is one, to be released there. */
void process_newborn(PyObject *released);

/* The callback of the classes' weak references. */
extern PyMethodDef class_died_method;

/* What is about to be changed of a class or an object. It is installed once and stays: Python knows no way back. */
int on_audit(const char *event, PyObject *arguments, void *data);

#endif
