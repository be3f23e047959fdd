/* What has been sampled, as objects of Python; with the lock. */
#ifndef RBKIT_DRAIN_H
#define RBKIT_DRAIN_H

#include "store.h"

/* A list of totals as of drain(); ``waiting``: their last word. NULL with an exception. */
PyObject *totals_list(const Sum *sums, size_t n, PyObject *waiting);

/* drain(), set_raw(), held(). */
extern PyMethodDef drain_methods[];

#endif
