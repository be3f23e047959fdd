#include "weights.h"

#define RAW_UNIT (SECOND / 1000) /* PUB carries at most 1000 samples a second */
/* One that lets nobody in for so long is remembered for those who want to know what blocks. */
#define LONG (50 * SECOND / 1000)

void put_raw(Slot *slot, Stack *stack, PyObject *request, Weight weight)
{
    if (!shared.results.raw) {
        return;
    }
    slot->raw_ns += shared.results.raw_cpu ? weight.cpu_ns : weight.wall_ns;
    int64_t worth = shared.interval > RAW_UNIT ? shared.interval : RAW_UNIT;
    if (slot->raw_ns < worth - shared.interval / 2) {
        return; /* at a shorter interval than PUB carries: thinned here already */
    }
    if (shared.results.n_raws < MAX_RAW) {
        Py_XINCREF(request);
        shared.results.raws[shared.results.n_raws++] =
            (Raw){(double)read_clock(CLOCK_REALTIME) / 1e6, stack, request, slot->raw_ns};
    }
    slot->raw_ns = 0;
}

void flush_idle(Slot *slot)
{
    if (slot->idle_count != 0) {
        Weight weight = {slot->idle_ns, 0};
        if (slot->last == NULL ||
            store_add(&shared.results.store, slot->last, slot->request, weight, slot->idle_count) < 0) {
            shared.results.lost_ns += slot->idle_ns;
        }
        else {
            put_raw(slot, slot->last, slot->request, weight);
        }
        slot->idle_ns = 0;
        slot->idle_count = 0;
    }
}

void remember_held(int64_t began, int64_t ended, Stack *stack, PyObject *request)
{
    Held before = run.held;
    Py_XINCREF(stack);
    Py_XINCREF(request);
    run.held = (Held){began, ended, stack, request};
    Py_XDECREF(before.stack);
    Py_XDECREF(before.request);
}

void put_sample(Slot *slot, const Frame *frames, int depth, PyObject *request, int64_t now, int64_t cpu, Way way)
{
    if (depth > 1 && frames[0].code == config.skipped) {
        frames++;
        depth--;
    }
    pthread_mutex_lock(&shared.mutex);
    flush_idle(slot);
    int64_t used = cpu > slot->cpu_seen ? cpu - slot->cpu_seen : 0; /* a reading may be a little older than the last */
    Weight weight = {now > slot->wall_seen ? now - slot->wall_seen : 0, 0};
    if (way == WAITS) {
        slot->cpu_owed += used;
    }
    else {
        weight.cpu_ns = slot->cpu_owed + used;
        slot->cpu_owed = 0;
    }
    Stack *stack = store_get(&shared.results.store, slot->ident, frames, depth);
    if (weight.wall_ns > 0 || weight.cpu_ns > 0) {
        if (stack == NULL || store_add(&shared.results.store, stack, request, weight, 1) < 0) {
            shared.results.lost_ns += weight.wall_ns;
        }
        else {
            put_raw(slot, stack, request, weight);
        }
    }
    slot->last = stack;
    PyObject *before = slot->request;
    if (before != request) {
        Py_XINCREF(request);
        slot->request = request;
    }
    int64_t began = slot->wall_seen;
    slot->wall_seen += weight.wall_ns;
    slot->cpu_seen += used;
    slot->rested = way != WORKS && cpu >= 0;
    pthread_mutex_unlock(&shared.mutex);
    if (before != request) {
        Py_XDECREF(before);
    }
    if (slot == &shared.main && weight.wall_ns >= LONG) {
        remember_held(began, now, stack, request);
    }
}

int at_rest(Slot *slot, int64_t now, int64_t cpu)
{
    if (!slot->rested || cpu != slot->cpu_seen) {
        return 0;
    }
    if (now > slot->wall_seen) {
        slot->idle_ns += now - slot->wall_seen;
        slot->idle_count++;
        slot->wall_seen = now;
    }
    return 1;
}
