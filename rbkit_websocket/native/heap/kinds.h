/* What all objects of a type share, found out once: name, how the size is had, whether and where a place is told. */
#ifndef RBKIT_HEAP_KINDS_H
#define RBKIT_HEAP_KINDS_H

#include <Python.h>

#include "../common/pack.h"
#include "../common/table.h"
#include "places.h"

enum { PLACE_NONE, PLACE_CODE, PLACE_FUNCTION, PLACE_FRAME, PLACE_ATTRIBUTE, PLACE_MODULE, PLACE_CLASS };
enum { SIZE_UNKNOWN, SIZE_BASIC, SIZE_FUNCTION, SIZE_CALL };
enum { GC_NEVER, GC_ALWAYS, GC_ASK };

typedef struct {
    PyTypeObject *type;
    PyObject *method;      /* borrowed: __sizeof__, a method descriptor of one of its bases */
    PyCFunction function;  /* what that calls, where it takes nothing but the object */
    const char *attribute; /* that leads to the code, for PLACE_ATTRIBUTE */
    Bytes name;            /* packed */
    Bytes place;           /* packed: keys and values of the class's own place; empty if that is not known */
    size_t overhead;       /* of every object, in front of it */
    unsigned char size, placed, collected, fields; /* fields: how many of a map's entries `place` holds */
} Kind;

typedef struct {
    Table kinds; /* by the type */
    Modules modules;
} Types;

/* For a type that is not known yet; NULL without memory. */
Kind *kind_make(Types *types, PyTypeObject *type);

/* What is known of a type; NULL without memory. */
static inline Kind *kind_of(Types *types, PyTypeObject *type)
{
    TableSlot *slot = table_find(&types->kinds, (uintptr_t)type);
    return slot != NULL ? (Kind *)(uintptr_t)slot->value : kind_make(types, type);
}

void types_free(Types *types);

/* Size in bytes as sys.getsizeof tells it; -1 when the type does not tell. */
Py_ssize_t size_of(Kind *kind, PyObject *object);

#endif
