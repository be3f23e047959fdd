/* To which request a stack belongs; with the lock, without the mutex. */
#ifndef RBKIT_REQUESTS_H
#define RBKIT_REQUESTS_H

#include "../common/frames.h"

/* What to look for on a stack. */
Marker new_marker(void);

/* The request of what a walk has found; NULL: none. Borrowed: it stays until the next one is asked for. The thread is that
 * of the stack; NULL where all its frames have objects. */
PyObject *request_of(PyThreadState *tstate, const Marker *found);

/* set_marker(), set_servers(). */
extern PyMethodDef requests_methods[];

#endif
