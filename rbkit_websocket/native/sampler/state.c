#include "state.h"

Configuration config;
Run run;
Shared shared = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void wait_until(pthread_cond_t *condition, int64_t when)
{
    struct timespec until = {.tv_sec = when / SECOND, .tv_nsec = when % SECOND};
    pthread_cond_timedwait(condition, &shared.mutex, &until);
}
