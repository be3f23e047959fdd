#include "waits.h"

#include <stdint.h>
#include <stdlib.h>

#include "../common/clock.h"
#include "../common/compat.h"
#include "../common/frames.h"
#include "../common/table.h"
#include "drain.h"
#include "requests.h"
#include "state.h"
#include "store.h"

/* A parked greenlet of a request. */
typedef struct {
    PyObject *greenlet; /* its identity: borrowed */
    PyObject *weak;     /* a weak reference to it */
    PyObject *request;
    Stack *stack;
    int64_t since; /* when it was parked, or last accounted for */
} Parked;

static struct {
    int on;
    PyObject *tracer, *before; /* what greenlet calls; what it called before that, or NULL */
    Store store;
    Table parked; /* by the greenlet: Parked * */
    int64_t lost_ns;
} W;

static Parked *parked_in(const TableSlot *slot)
{
    return (Parked *)(uintptr_t)slot->value;
}

static void release(Parked *entry)
{
    Py_XDECREF(entry->weak);
    Py_XDECREF(entry->request);
    Py_XDECREF(entry->stack);
    PyObject_Free(entry);
}

/* Takes an entry out. What it refers to is released when the table is in order again: that may run anything. */
static void unpark(TableSlot *slot)
{
    Parked *gone = parked_in(slot);
    table_remove(&W.parked, slot);
    release(gone);
}

/* Adds the time since an entry was last accounted for. */
static void parked_weigh(Parked *entry, int64_t now)
{
    Weight weight = {now > entry->since ? now - entry->since : 0, 0};
    entry->since = now;
    if (weight.wall_ns > 0 && store_add(&W.store, entry->stack, entry->request, weight, 1) < 0) {
        W.lost_ns += weight.wall_ns;
    }
}

/* The frame at which a greenlet is parked, a new reference; NULL if it runs, has ended or has not begun. */
static PyFrameObject *parked_frame(PyObject *greenlet)
{
    PyObject *frame = PyObject_GetAttrString(greenlet, "gr_frame");
    if (frame == NULL || !PyFrame_Check(frame)) {
        PyErr_Clear();
        Py_XDECREF(frame);
        return NULL;
    }
    return (PyFrameObject *)frame;
}

static void resume(PyObject *greenlet, int64_t now)
{
    TableSlot *slot = table_find(&W.parked, (uintptr_t)greenlet);
    if (slot != NULL) {
        parked_weigh(parked_in(slot), now);
        unpark(slot);
    }
}

static void park(PyObject *greenlet, int64_t now, Marker found)
{
    PyFrameObject *frame = parked_frame(greenlet);
    if (frame == NULL) {
        return;
    }
    Frame frames[MAX_DEPTH];
    int depth = fit(frames, walk_from(frame, frames, &found));
    PyObject *request = request_of(NULL, &found);
    PyObject *weak = request != NULL ? PyWeakref_NewRef(greenlet, NULL) : NULL;
    Stack *stack = weak != NULL ? store_get(&W.store, PyThread_get_thread_ident(), frames, depth) : NULL;
    Parked *entry = stack != NULL ? PyObject_Malloc(sizeof *entry) : NULL;
    if (entry == NULL) {
        PyErr_Clear();
        Py_XDECREF(weak);
        return;
    }
    Py_INCREF(request);
    Py_INCREF(stack);
    *entry = (Parked){greenlet, weak, request, stack, now};
    TableSlot *slot = table_find(&W.parked, (uintptr_t)greenlet);
    if (slot != NULL) { /* that of one which died unseen */
        unpark(slot);
    }
    slot = table_add(&W.parked, (uintptr_t)greenlet, (uintptr_t)entry);
    if (slot == NULL) {
        release(entry);
    }
}

/* Whether an entry's greenlet is still where it was parked: somebody may have taken our place at greenlet. */
static int still_parked(const Parked *entry)
{
    PyObject *greenlet = weak_target(entry->weak);
    PyFrameObject *frame = greenlet == entry->greenlet ? parked_frame(greenlet) : NULL;
    Py_XDECREF(greenlet);
    if (frame == NULL) {
        return 0;
    }
    PyCodeObject *code = PyFrame_GetCode(frame);
    int same = Py_SIZE(entry->stack) > 0 && (PyObject *)code == entry->stack->frames[0].code;
    Py_DECREF(code);
    Py_DECREF(frame);
    return same;
}

/* Accounts for those that are parked still. */
static void weigh_parked(void)
{
    int64_t now = read_clock(CLOCK_MONOTONIC);
    for (size_t i = 0; W.parked.used != 0 && i < table_places(&W.parked); i++) {
        while (W.parked.slots[i].key != 0 && !still_parked(parked_in(&W.parked.slots[i]))) {
            unpark(&W.parked.slots[i]);
        }
        if (W.parked.slots[i].key != 0) {
            parked_weigh(parked_in(&W.parked.slots[i]), now);
        }
    }
}

static void forget_parked(void)
{
    for (size_t i = 0; W.parked.used != 0 && i < table_places(&W.parked); i++) {
        while (W.parked.slots[i].key != 0) {
            unpark(&W.parked.slots[i]);
        }
    }
}

void waits_forget(void)
{
    W.on = 0;
    forget_parked();
}

static PyObject *on_switch(PyObject *Py_UNUSED(self), PyObject *arguments)
{
    PyObject *pair = PyTuple_GET_SIZE(arguments) == 2 ? PyTuple_GET_ITEM(arguments, 1) : NULL;
    if (W.on && pair != NULL && PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2) {
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        int collecting = PyGC_Disable(); /* the walk makes objects, and a collection would run Python */
        int64_t now = read_clock(CLOCK_MONOTONIC);
        resume(PyTuple_GET_ITEM(pair, 1), now);
        park(PyTuple_GET_ITEM(pair, 0), now, new_marker());
        run.on_behalf_ns += read_clock(CLOCK_MONOTONIC) - now;
        if (collecting) {
            PyGC_Enable();
        }
        PyErr_Restore(type, value, trace);
    }
    if (W.before == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *before = W.before;
    Py_INCREF(before);
    PyObject *answer = PyObject_Call(before, arguments, NULL); /* what it raises is raised as without us */
    Py_DECREF(before);
    return answer;
}

static PyMethodDef on_switch_method = {"rbkit_waits", on_switch, METH_VARARGS, "Tells the time of a switch."};

PyDoc_STRVAR(waits_start_doc,
"waits_start(gettrace, settrace)\n--\n\n"
"Measures from now on how long greenlets of requests are parked in the calling thread; greenlet's two functions.");

static PyObject *native_waits_start(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *gettrace, *settrace;
    if (!PyArg_ParseTuple(arguments, "OO", &gettrace, &settrace)) {
        return NULL;
    }
    if (W.tracer == NULL && (W.tracer = PyCFunction_New(&on_switch_method, NULL)) == NULL) {
        return NULL;
    }
    PyObject *now = PyObject_CallNoArgs(gettrace);
    if (now == NULL) {
        return NULL;
    }
    if (now != W.tracer) {
        Py_XSETREF(W.before, now == Py_None ? NULL : Py_NewRef(now));
        PyObject *done = PyObject_CallOneArg(settrace, W.tracer);
        Py_XDECREF(done);
        if (done == NULL) {
            Py_DECREF(now);
            return NULL;
        }
    }
    Py_DECREF(now);
    W.on = 1;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(waits_stop_doc,
"waits_stop()\n--\n\n"
"Measures no more, whatever greenlet goes on to tell. From any thread.");

static PyObject *native_waits_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    waits_forget();
    Py_RETURN_NONE;
}

static PyObject *native_waits_on(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(W.on);
}

PyDoc_STRVAR(waits_end_doc,
"waits_end(gettrace, settrace)\n--\n\n"
"Has greenlet tell nothing any more, in the calling thread, unless it is measured again or somebody else has taken over.");

static PyObject *native_waits_end(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *gettrace, *settrace;
    if (!PyArg_ParseTuple(arguments, "OO", &gettrace, &settrace)) {
        return NULL;
    }
    PyObject *now = W.on ? NULL : PyObject_CallNoArgs(gettrace), *done = NULL;
    if (now != NULL && now == W.tracer) {
        done = PyObject_CallOneArg(settrace, W.before != NULL ? W.before : Py_None);
        Py_CLEAR(W.before);
    }
    Py_XDECREF(now);
    Py_XDECREF(done);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(waits_adopt_doc,
"waits_adopt(greenlets)\n--\n\n"
"Counts those of a list that were parked before this began as parked since now.");

static PyObject *native_waits_adopt(PyObject *Py_UNUSED(module), PyObject *greenlets)
{
    if (!PyList_CheckExact(greenlets)) {
        PyErr_SetString(PyExc_TypeError, "a list of greenlets is wanted");
        return NULL;
    }
    int64_t now = read_clock(CLOCK_MONOTONIC);
    int collecting = PyGC_Disable(); /* as above */
    for (Py_ssize_t i = 0; W.on && i < PyList_GET_SIZE(greenlets); i++) {
        PyObject *greenlet = PyList_GET_ITEM(greenlets, i);
        if (table_find(&W.parked, (uintptr_t)greenlet) == NULL) {
            park(greenlet, now, new_marker());
        }
    }
    if (collecting) {
        PyGC_Enable();
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(waits_drain_doc,
"waits_drain()\n--\n\n"
"How long greenlets were parked since the last call, those that are still among them: ``(totals, lost_us)``; the first\n"
"as of drain(), but for the last word of each, which is True.");

static PyObject *native_waits_drain(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    int collecting = PyGC_Disable();
    weigh_parked();
    if (collecting) {
        PyGC_Enable();
    }
    Sum *sums = W.store.sums;
    size_t n_sums = W.store.n_sums;
    int64_t lost = W.lost_ns / 1000;
    W.store.sums = NULL;
    W.store.n_sums = W.store.room_sums = 0;
    W.lost_ns %= 1000;
    for (size_t i = 0; i < n_sums; i++) {
        sums[i].stack->sums = 0;
        Py_INCREF(sums[i].stack);
    }
    PyObject *totals = totals_list(sums, n_sums, Py_True);
    PyObject *answer = totals != NULL ? Py_BuildValue("NL", totals, (long long)lost) : NULL;
    for (size_t i = 0; i < n_sums; i++) {
        Py_XDECREF(sums[i].request);
        Py_DECREF(sums[i].stack);
    }
    free(sums);
    if (W.store.stacks.used > MAX_STACKS / 2) {
        Stack **gone = NULL;
        for (size_t i = 0; i < table_places(&W.store.stacks); i++) {
            Stack *stack = store_at(&W.store, i);
            if (stack != NULL) { /* a parked greenlet has its own reference */
                stack->kept = Py_REFCNT(stack) > 1;
            }
        }
        size_t n_gone = store_evict(&W.store, &gone);
        for (size_t i = 0; i < n_gone; i++) {
            Py_DECREF(gone[i]);
        }
        free(gone);
    }
    return answer;
}

PyMethodDef waits_methods[] = {
    {"waits_start", native_waits_start, METH_VARARGS, waits_start_doc},
    {"waits_on", native_waits_on, METH_NOARGS, "waits_on()\n--\n\nWhether it is measured."},
    {"waits_stop", native_waits_stop, METH_NOARGS, waits_stop_doc},
    {"waits_end", native_waits_end, METH_VARARGS, waits_end_doc},
    {"waits_adopt", native_waits_adopt, METH_O, waits_adopt_doc},
    {"waits_drain", native_waits_drain, METH_NOARGS, waits_drain_doc},
    {NULL, NULL, 0, NULL},
};
