/* A hash table of 64-bit keys and values in plain memory. Nothing in here touches the interpreter, so it may be used
 * while an object is being made or freed. The interpreter's lock guards it.
 */
#ifndef RBKIT_TABLE_H
#define RBKIT_TABLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t key; /* 0: free */
    uint64_t value;
} Slot;

typedef struct {
    Slot *slots;
    size_t mask, used;
} Table;

static inline size_t
table_place(const Table *table, uint64_t key)
{
    return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & table->mask;
}

/* size: a power of two; 0 or -1 without memory. */
int
table_make(Table *table, size_t size);

void
table_free(Table *table);

static inline Slot *
table_find(const Table *table, uint64_t key)
{
    if (table->slots == NULL) {
        return NULL;
    }
    size_t place = table_place(table, key);
    while (table->slots[place].key != 0) {
        if (table->slots[place].key == key) {
            return &table->slots[place];
        }
        place = (place + 1) & table->mask;
    }
    return NULL;
}

/* For a key that is not in it, in a table that has room. */
static inline Slot *
table_put(Table *table, uint64_t key, uint64_t value)
{
    size_t place = table_place(table, key);
    while (table->slots[place].key != 0) {
        place = (place + 1) & table->mask;
    }
    table->slots[place] = (Slot){key, value};
    table->used++;
    return &table->slots[place];
}

/* The same, but it grows at half full; NULL without memory, and then it is what it was. */
Slot *
table_add(Table *table, uint64_t key, uint64_t value);

/* Closes the gap, so that no search ends too soon and no grave is left. */
void
table_remove(Table *table, Slot *slot);

#endif
