#include "seen.h"

int
seen_grow(Seen *seen)
{
    size_t mask = seen->slots == NULL ? 1023 : seen->mask * 2 + 1;
    Region *slots = calloc(mask + 1, sizeof(Region));
    if (slots == NULL) {
        return ENOMEM;
    }
    for (size_t position = 0; seen->slots != NULL && position <= seen->mask; position++) {
        if (seen->slots[position].bits != NULL) {
            *seen_slot(slots, mask, seen->slots[position].number) = seen->slots[position];
        }
    }
    free(seen->slots);
    seen->slots = slots;
    seen->mask = mask;
    return 0;
}

void
seen_free(Seen *seen)
{
    for (size_t position = 0; seen->slots != NULL && position <= seen->mask; position++) {
        free(seen->slots[position].bits);
    }
    free(seen->slots);
}
