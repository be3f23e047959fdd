#include "collections.h"

#include <string.h>

#include "../common/frames.h"
#include "requests.h"
#include "state.h"
#include "weights.h"

static struct {
    unsigned long thread; /* that collects; 0: none */
    int64_t since, cpu;   /* its clocks when that began */
} collection;             /* under the lock */

void collections_forget(void)
{
    collection.thread = 0;
}

static Slot *known_slot(unsigned long ident)
{
    if (ident == shared.main.ident) {
        return &shared.main;
    }
    for (size_t i = 0; i < shared.n_others; i++) {
        if (shared.others[i].ident == ident) {
            return &shared.others[i];
        }
    }
    return NULL;
}

static void put_collection(Slot *slot, const Frame *frames, int depth, PyObject *request, int64_t now, int64_t cpu)
{
    pthread_mutex_lock(&shared.mutex);
    int64_t began = collection.since > slot->wall_seen ? collection.since : slot->wall_seen;
    int64_t used = collection.cpu > slot->cpu_seen ? collection.cpu : slot->cpu_seen;
    Weight weight = {now > began ? now - began : 0, cpu > used ? cpu - used : 0};
    Stack *stack = store_get(&shared.results.store, slot->ident, frames, depth);
    if (stack != NULL && store_add(&shared.results.store, stack, request, weight, 1) == 0) {
        put_raw(slot, stack, request, weight);
        /* The next look weighs so much less. */
        slot->wall_seen += weight.wall_ns;
        slot->cpu_seen += weight.cpu_ns;
        slot->rested = 0;
    }
    pthread_mutex_unlock(&shared.mutex);
}

static PyObject *on_collection(PyObject *Py_UNUSED(self), PyObject *arguments)
{
    const char *phase = PyTuple_GET_SIZE(arguments) > 0 && PyUnicode_Check(PyTuple_GET_ITEM(arguments, 0))
                            ? PyUnicode_AsUTF8(PyTuple_GET_ITEM(arguments, 0))
                            : "";
    unsigned long ident = PyThread_get_thread_ident();
    int64_t now = read_clock(CLOCK_MONOTONIC), cpu = read_clock(CLOCK_THREAD_CPUTIME_ID);
    if (phase != NULL && strcmp(phase, "start") == 0) {
        collection.thread = ident;
        collection.since = now;
        collection.cpu = cpu;
    }
    else if (run.state == ON && collection.thread == ident) {
        Slot *slot = known_slot(ident);
        if (slot != NULL) {
            Frame frames[MAX_DEPTH + 1];
            Marker marker = new_marker();
            frames[0] = (Frame){config.collector, 0};
            PyThreadState *self = PyThreadState_Get();
            int depth = walk(self, frames + 1, &marker) + 1;
            if (depth > MAX_DEPTH) { /* the outermost frames tell more than one in between */
                memmove(frames + 1, frames + 2, (size_t)(--depth - 1) * sizeof *frames);
            }
            put_collection(slot, frames, depth, request_of(self, &marker), now, cpu);
        }
        collection.thread = 0;
        run.on_behalf_ns += read_clock(CLOCK_MONOTONIC) - now;
    }
    PyErr_Clear();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(on_collection_doc,
"on_collection(phase, info)\n--\n\n"
"For ``gc.callbacks``, the first of them: charges a collection to a frame of its own.");

PyMethodDef collections_methods[] = {
    {"on_collection", on_collection, METH_VARARGS, on_collection_doc},
    {NULL, NULL, 0, NULL},
};
