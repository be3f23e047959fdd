/* Samples for those who read them: added up by stack and request, frames numbered, packed.
 *
 * A web application at 10 kHz has thousands of distinct stacks a second. To add them up and to find the line of each
 * of their frames takes Python a tenth of that second, and the application pays for it; this takes some milliseconds of
 * a second, and some tens for all that is kept.
 *
 * With the interpreter's lock. No Python code runs before everything is added up: what the stacks hold for that
 * (``group``) is this one's alone meanwhile.
 */
#ifndef RBKIT_FOLD_H
#define RBKIT_FOLD_H

#include <Python.h>

/* fold(). */
extern PyMethodDef fold_methods[];

#endif
