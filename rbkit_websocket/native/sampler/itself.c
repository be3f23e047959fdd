#include "itself.h"

#include "../common/frames.h"
#include "requests.h"
#include "state.h"
#include "weights.h"

void look_at_self(void)
{
    if (run.state != ON) {
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
    pthread_mutex_lock(&shared.mutex);
    /* The ticker has just read it, and this costs a system call. */
    int64_t cpu = shared.asking.pending && now - shared.asking.pending_since < shared.interval / 2
                      ? shared.asking.cpu
                      : read_clock(CLOCK_THREAD_CPUTIME_ID);
    shared.asking.pending = 0;
    shared.asking.answered++;
    shared.asking.respite = marker.depth > DEEP ? now + (int64_t)marker.depth * NANOSECONDS_A_FRAME : 0;
    pthread_mutex_unlock(&shared.mutex);
    put_sample(&shared.main, frames, depth, request, now, cpu, WORKS);
    run.on_behalf_ns += read_clock(CLOCK_MONOTONIC) - began;
}

int on_pending(void *Py_UNUSED(unused))
{
    look_at_self();
    return 0;
}
