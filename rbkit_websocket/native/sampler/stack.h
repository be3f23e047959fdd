/* The stack of one thread, an object of Python: compared by identity. */
#ifndef RBKIT_STACK_H
#define RBKIT_STACK_H

#include <Python.h>
#include <stdint.h>

#include "../common/frames.h"

/* What a sample weighs, by both clocks. */
typedef struct {
    int64_t wall_ns, cpu_ns;
} Weight;

static inline void weight_add(Weight *sum, Weight more)
{
    sum->wall_ns += more.wall_ns;
    sum->cpu_ns += more.cpu_ns;
}

typedef struct {
    PyObject_VAR_HEAD unsigned long thread;
    Weight rest;  /* less than a microsecond each, left over by the last drain */
    size_t sums;  /* number + 1 of its youngest sum; 0: it has none */
    size_t group; /* whoever adds up: drain(), fold() */
    char kept;    /* during an eviction: stays */
    Frame frames[1];
} Stack;

extern PyTypeObject StackType;

/* A new reference; NULL without memory, and without an exception. */
Stack *stack_new(unsigned long thread, const Frame *frames, int depth);

/* stack(). */
extern PyMethodDef stack_methods[];

#endif
