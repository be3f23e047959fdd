/* Start and stop, with the lock; and what may be set. */
#ifndef RBKIT_RUN_H
#define RBKIT_RUN_H

#include <Python.h>

/* start(), stop(), forget(), set_interval(), use_signal(), needs_signal(). */
extern PyMethodDef run_methods[];

#endif
