#include "table.h"

#include <stdlib.h>

int
table_make(Table *table, size_t size)
{
    table->slots = calloc(size, sizeof(Slot));
    table->mask = size - 1;
    table->used = 0;
    return table->slots == NULL ? -1 : 0;
}

void
table_free(Table *table)
{
    free(table->slots);
    table->slots = NULL;
    table->mask = table->used = 0;
}

Slot *
table_add(Table *table, uint64_t key, uint64_t value)
{
    if (table->slots == NULL && table_make(table, 256)) {
        return NULL;
    }
    if (table->used * 2 > table->mask) {
        Table larger;
        if (table_make(&larger, (table->mask + 1) * 2)) {
            return NULL;
        }
        for (size_t place = 0; place <= table->mask; place++) {
            if (table->slots[place].key != 0) {
                table_put(&larger, table->slots[place].key, table->slots[place].value);
            }
        }
        free(table->slots);
        *table = larger;
    }
    return table_put(table, key, value);
}

/* Closes the gap, so that no search ends too soon and no grave is left. */
void
table_remove(Table *table, Slot *slot)
{
    size_t gap = (size_t)(slot - table->slots), place = gap;
    for (;;) {
        place = (place + 1) & table->mask;
        if (table->slots[place].key == 0) {
            break;
        }
        size_t home = table_place(table, table->slots[place].key);
        /* Whether home lies cyclically outside (gap, place]. */
        if (((place - home) & table->mask) >= ((place - gap) & table->mask)) {
            table->slots[gap] = table->slots[place];
            gap = place;
        }
    }
    table->slots[gap].key = 0;
    table->used--;
}
