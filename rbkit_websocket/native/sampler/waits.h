/* Where requests wait: what greenlet tells of its switches, while somebody wants to know.
 *
 * A greenlet that is switched away from is parked until it is switched to again, and that time is measured, not
 * sampled: however short it was, however late anybody asks. greenlet calls one function a thread for each switch
 * (settrace); ours calls the one that was there before it. Of a request's greenlet the parked stack is kept.
 *
 * Everything here is under the interpreter's lock, and runs no Python code but the function that was there before.
 */
#ifndef RBKIT_WAITS_H
#define RBKIT_WAITS_H

#include <Python.h>

/* In a forked child: nobody is parked, and nothing is measured. */
void waits_forget(void);

/* waits_start(), waits_on(), waits_stop(), waits_end(), waits_adopt(), waits_drain(). */
extern PyMethodDef waits_methods[];

#endif
