#include "itself.h"

#include "../common/frames.h"
#include "requests.h"
#include "state.h"
#include "weights.h"

void look_at_self(void)
{
    if (S.state != ON) {
        return;
    }
    int64_t began = read_clock(CLOCK_MONOTONIC);
    Frame frames[MAX_DEPTH];
    Marker marker = new_marker();
    PyThreadState *self = PyThreadState_Get();
    int collecting = PyGC_Disable(); /* both make objects, and a collection would run Python */
    int depth = walk(self, frames, &marker);
    PyObject *request = request_of(self, &marker);
    if (collecting) {
        PyGC_Enable();
    }
    int64_t now = read_clock(CLOCK_MONOTONIC);
    pthread_mutex_lock(&S.mutex);
    /* The ticker has just read it, and this costs a system call. */
    int64_t cpu = S.pending && now - S.pending_since < S.interval / 2 ? S.asked_cpu
                                                                      : read_clock(CLOCK_THREAD_CPUTIME_ID);
    S.pending = 0;
    S.answered++;
    S.respite = marker.depth > DEEP ? now + (int64_t)marker.depth * NANOSECONDS_A_FRAME : 0;
    pthread_mutex_unlock(&S.mutex);
    put_sample(&S.main, frames, depth, request, now, cpu, WORKS);
    S.on_behalf_ns += read_clock(CLOCK_MONOTONIC) - began;
}

int on_pending(void *Py_UNUSED(unused))
{
    look_at_self();
    return 0;
}
