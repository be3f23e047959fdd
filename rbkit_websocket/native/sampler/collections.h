/* Collections; with the lock, in the thread that collects.
 *
 * The collector has no frame: its time would stand under whatever ran next, mostly somebody's function that is called at
 * its end. It gets a frame of its own, called by the function that made the object too many. Looks that are answered
 * meanwhile, in a finalizer, have their own time.
 */
#ifndef RBKIT_COLLECTIONS_H
#define RBKIT_COLLECTIONS_H

#include <Python.h>

/* The one under way, if any, is nobody's. */
void collections_forget(void);

/* on_collection(). */
extern PyMethodDef collections_methods[];

#endif
