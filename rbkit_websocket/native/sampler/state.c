#include "state.h"

Sampler S = {.mutex = PTHREAD_MUTEX_INITIALIZER, .main_state_file = -1, .threads_file = -1};

void wait_until(pthread_cond_t *condition, int64_t when)
{
    struct timespec until = {.tv_sec = when / SECOND, .tv_nsec = when % SECOND};
    pthread_cond_timedwait(condition, &S.mutex, &until);
}
