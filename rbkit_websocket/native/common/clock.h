/* The kernel's clocks, in nanoseconds. */
#ifndef RBKIT_CLOCK_H
#define RBKIT_CLOCK_H

#include <stdint.h>
#include <time.h>

#define SECOND 1000000000LL

static inline int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        return -1;
    }
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

#endif
