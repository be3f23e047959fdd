/* How a forked child of the process becomes nothing but a walk: everything that ties it to what its parent was. */
#ifndef RBKIT_HEAP_CHILD_H
#define RBKIT_HEAP_CHILD_H

#ifdef __linux__
#define CAN_FORK 1
#include <signal.h>
#include <sys/types.h>

/* Everything that ties the child to what its parent was. */
void become_child(int file, int report, pid_t parent, long thread, unsigned seconds, const sigset_t *none);
#else
#define CAN_FORK 0
#endif

#endif
