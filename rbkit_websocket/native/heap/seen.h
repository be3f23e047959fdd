/* Lists of objects, and which objects have been seen. Objects are addresses here: nothing of them is touched. */
#ifndef RBKIT_HEAP_SEEN_H
#define RBKIT_HEAP_SEEN_H
#include <Python.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "../common/table.h"

#if defined(__GNUC__) || defined(__clang__)
#define PREFETCH(address) __builtin_prefetch(address)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#else
#define PREFETCH(address) ((void)0)
#define UNLIKELY(condition) (condition)
#endif

/* Which objects have been seen: a bit for every 8 bytes of the regions of memory in which objects are. */

#define REGION_BITS 18
#define REGION_WORDS (((size_t)1 << REGION_BITS) / 8 / 64)

typedef struct {
    Table regions; /* the bits of each, by its number + 1 */
    uintptr_t last_number;
    uint64_t *last_bits;
} Seen;

/* The bits of a region, made if there are none; NULL without memory. */
uint64_t *seen_region(Seen *seen, uintptr_t number);

/* Marks the object; 1 if it is new, 0 if it was marked before, -1 without memory. */
static inline int seen_mark(Seen *seen, const void *object)
{
    uintptr_t address = (uintptr_t)object;
    uintptr_t number = address >> REGION_BITS;
    if (UNLIKELY(number != seen->last_number || seen->last_bits == NULL)) {
        uint64_t *bits = seen_region(seen, number);
        if (bits == NULL) {
            return -1;
        }
        seen->last_number = number;
        seen->last_bits = bits;
    }
    size_t bit = (address & (((uintptr_t)1 << REGION_BITS) - 1)) >> 3;
    uint64_t *word = &seen->last_bits[bit >> 6];
    uint64_t flag = UINT64_C(1) << (bit & 63);
    if (*word & flag) {
        return 0;
    }
    *word |= flag;
    return 1;
}

void seen_free(Seen *seen);

typedef struct {
    PyObject **items;
    size_t count, room;
} Objects;

static inline int objects_push(Objects *objects, PyObject *object)
{
    if (UNLIKELY(objects->count == objects->room)) {
        size_t room = objects->room ? objects->room * 2 : 1024;
        PyObject **items = realloc(objects->items, room * sizeof(PyObject *));
        if (items == NULL) {
            return ENOMEM;
        }
        objects->items = items;
        objects->room = room;
    }
    objects->items[objects->count++] = object;
    return 0;
}

#endif
