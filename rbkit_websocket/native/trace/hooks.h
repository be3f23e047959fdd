/* The hooks in the slots of classes, and what they stand for. */
#ifndef RBKIT_TRACE_HOOKS_H
#define RBKIT_TRACE_HOOKS_H

#include <Python.h>

/* What type.__new__ puts into the slots, from a class made for it; whether that is what is known. */
int find_originals(void);

/* Whether the class is written in Python, but derived from a type that makes or ends objects past the slots. */
int is_silent(PyTypeObject *type);

int may_be_hooked(PyTypeObject *type);

freefunc hook_of(freefunc original);

void set_hooks(PyTypeObject *type);

void remove_hooks(PyTypeObject *type);

#endif
