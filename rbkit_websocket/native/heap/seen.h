/* Lists of objects, and which objects have been seen. Objects are addresses here: nothing of them is touched. */
#ifndef RBKIT_HEAP_SEEN_H
#define RBKIT_HEAP_SEEN_H
#include <Python.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

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
    uintptr_t number;
    uint64_t *bits;
} Region;

typedef struct {
    Region *slots;
    size_t mask, used;
    uintptr_t last_number;
    uint64_t *last_bits;
} Seen;

static inline size_t
scatter(uintptr_t value)
{
    uint64_t mixed = (uint64_t)value * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 29);
}

static inline Region *
seen_slot(Region *slots, size_t mask, uintptr_t number)
{
    size_t position = scatter(number) & mask;
    while (slots[position].bits != NULL && slots[position].number != number) {
        position = (position + 1) & mask;
    }
    return &slots[position];
}

int
seen_grow(Seen *seen);

/* Marks the object; 1 if it is new, 0 if it was marked before, -1 without memory. */
static inline int
seen_mark(Seen *seen, const void *object)
{
    uintptr_t address = (uintptr_t)object;
    uintptr_t number = address >> REGION_BITS;
    if (UNLIKELY(number != seen->last_number || seen->last_bits == NULL)) {
        if ((seen->slots == NULL || seen->used * 2 > seen->mask) && seen_grow(seen)) {
            return -1;
        }
        Region *region = seen_slot(seen->slots, seen->mask, number);
        if (region->bits == NULL) {
            region->bits = calloc(REGION_WORDS, sizeof(uint64_t));
            if (region->bits == NULL) {
                return -1;
            }
            region->number = number;
            seen->used++;
        }
        seen->last_number = number;
        seen->last_bits = region->bits;
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

void
seen_free(Seen *seen);

typedef struct {
    PyObject **items;
    size_t count, room;
} Objects;

static inline int
objects_push(Objects *objects, PyObject *object)
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
