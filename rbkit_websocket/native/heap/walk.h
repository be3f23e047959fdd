/* One object after the other, written with what it refers to. */
#ifndef RBKIT_HEAP_WALK_H
#define RBKIT_HEAP_WALK_H

#include <Python.h>

#include <stdint.h>

#include "kinds.h"
#include "output.h"
#include "seen.h"

#define OBJECTS_PER_CHUNK 1000

/* What goes through a forked child's pipe: {kind, value} as uint64. */
enum { REPORT_ROOTS = 1, REPORT_PROGRESS = 2, REPORT_DONE = 3, REPORT_ERROR = 4 };

typedef struct {
    Types types;
    Seen seen;
    Objects roots, waiting, references;
    uintptr_t *scratch;
    size_t scratch_mask;
    Output output;
    Bytes index;
    uint64_t count;
    int report; /* a descriptor, or -1 */
    int error;
} Walk;

/* Writes one object and marks what it refers to; what is new there waits for its turn. */
int dump_object(Walk *walk, PyObject *object);

int write_end(Walk *walk);

void report(Walk *walk, uint64_t kind, uint64_t value);

void walk_free(Walk *walk);

#endif
