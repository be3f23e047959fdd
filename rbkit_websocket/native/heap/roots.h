/* Where the walk begins: what the collector knows. */
#ifndef RBKIT_HEAP_ROOTS_H
#define RBKIT_HEAP_ROOTS_H

#include "walk.h"

/* Fills the roots. `list` gets what keeps them, or NULL; it is nobody else's, and no root. */
int find_roots(Walk *walk, PyObject **list);

#endif
