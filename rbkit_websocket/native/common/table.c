#include "table.h"

#include <stdlib.h>

int table_make(Table *table, size_t size)
{
    table->slots = calloc(size, sizeof *table->slots);
    table->mask = size - 1;
    table->used = 0;
    return table->slots == NULL ? -1 : 0;
}

void table_free(Table *table)
{
    free(table->slots);
    *table = (Table){0};
}

int table_grow(Table *table)
{
    Table larger;
    if (table_make(&larger, table->slots != NULL ? table_places(table) * 2 : 256)) {
        return -1;
    }
    for (size_t place = 0; place < table_places(table); place++) {
        if (table->slots[place].key != 0) {
            table_put(&larger, table->slots[place].key, table->slots[place].value);
        }
    }
    free(table->slots);
    *table = larger;
    return 0;
}

void table_remove(Table *table, TableSlot *slot)
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
