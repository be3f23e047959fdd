#include "seen.h"

#include <stdlib.h>

uint64_t *seen_region(Seen *seen, uintptr_t number)
{
    TableSlot *slot = table_find(&seen->regions, number + 1);
    if (slot != NULL) {
        return (uint64_t *)(uintptr_t)slot->value;
    }
    uint64_t *bits = calloc(REGION_WORDS, sizeof *bits);
    if (bits != NULL && table_add(&seen->regions, number + 1, (uintptr_t)bits) == NULL) {
        free(bits);
        bits = NULL;
    }
    return bits;
}

void seen_free(Seen *seen)
{
    for (size_t place = 0; place < table_places(&seen->regions); place++) {
        if (seen->regions.slots[place].key != 0) {
            free((void *)(uintptr_t)seen->regions.slots[place].value);
        }
    }
    table_free(&seen->regions);
}
