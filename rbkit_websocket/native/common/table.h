/* The hash table: 64-bit keys and values in plain memory, open addressing, at most half full.
 *
 * A key is an identity, or the hash of what its value leads to. Of such a key there may be several, one for each value:
 * whoever looks for one goes through them (table_find(), table_next()) and compares. 0 is no key.
 *
 * Nothing in here touches the interpreter, so it may be used while an object is being made or freed, and with any mutex
 * held. Who guards a table says so beside it.
 */
#ifndef RBKIT_TABLE_H
#define RBKIT_TABLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t key; /* 0: free */
    uint64_t value;
} TableSlot;

typedef struct {
    TableSlot *slots; /* NULL: nothing has been put into it */
    size_t mask, used;
} Table;

static inline size_t table_place(const Table *table, uint64_t key)
{
    return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & table->mask;
}

/* A hash as a key. */
static inline uint64_t table_key(uint64_t hash)
{
    return hash + (hash == 0);
}

/* From a place on; NULL if there is none with this key. */
static inline TableSlot *table_search(const Table *table, uint64_t key, size_t place)
{
    for (; table->slots[place].key != 0; place = (place + 1) & table->mask) {
        if (table->slots[place].key == key) {
            return &table->slots[place];
        }
    }
    return NULL;
}

static inline TableSlot *table_find(const Table *table, uint64_t key)
{
    return table->slots != NULL ? table_search(table, key, table_place(table, key)) : NULL;
}

/* The next one with the same key. */
static inline TableSlot *table_next(const Table *table, const TableSlot *slot)
{
    return table_search(table, slot->key, ((size_t)(slot - table->slots) + 1) & table->mask);
}

/* In a table that has room. */
static inline TableSlot *table_put(Table *table, uint64_t key, uint64_t value)
{
    size_t place = table_place(table, key);
    while (table->slots[place].key != 0) {
        place = (place + 1) & table->mask;
    }
    table->slots[place] = (TableSlot){key, value};
    table->used++;
    return &table->slots[place];
}

/* How many places there are to go through, from 0 on. */
static inline size_t table_places(const Table *table)
{
    return table->slots != NULL ? table->mask + 1 : 0;
}

/* Makes it twice as large, or at first. -1 without memory, and then it is what it was. */
int table_grow(Table *table);

/* Room for one more; -1 without memory. */
static inline int table_reserve(Table *table)
{
    return table->slots != NULL && table->used * 2 <= table->mask ? 0 : table_grow(table);
}

/* Makes room and puts; NULL without memory. */
static inline TableSlot *table_add(Table *table, uint64_t key, uint64_t value)
{
    return table_reserve(table) == 0 ? table_put(table, key, value) : NULL;
}

/* Closes the gap, so that no search ends too soon and no grave is left. What is put into the gap comes from behind it:
 * who goes through the places and takes out looks at the same place again. */
void table_remove(Table *table, TableSlot *slot);

/* size: a power of two, of which half may be used; -1 without memory. */
int table_make(Table *table, size_t size);

void table_free(Table *table);

#endif
