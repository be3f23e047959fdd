/* The innermost frames of this interpreter's threads: sys._current_frames() without the other interpreters.
 *
 * That function looks at the threads of every interpreter of the process, and makes objects of their frames. From
 * Python 3.12 on an interpreter may have a lock of its own: its threads run meanwhile, and the process ends. We hold our
 * interpreter's lock, under which its own threads stand still.
 */
#ifndef RBKIT_THREADS_H
#define RBKIT_THREADS_H

#include <Python.h>

/* frames(), alone(). */
extern PyMethodDef threads_methods[];

#endif
