#include "waits.h"

#include <stdint.h>
#include <stdlib.h>

#include "../common/clock.h"
#include "../common/frames.h"
#include "drain.h"
#include "requests.h"
#include "state.h"
#include "store.h"

/* A parked greenlet of a request. */
typedef struct {
    PyObject *greenlet; /* its identity: borrowed; NULL: this place is free */
    PyObject *weak;     /* a weak reference to it */
    PyObject *request;
    Stack *stack;
    int64_t since; /* when it was parked, or last accounted for */
} Parked;

static struct {
    int on;
    PyObject *tracer, *before; /* what greenlet calls; what it called before that, or NULL */
    Store store;
    Parked *parked; /* open addressing */
    size_t mask, used;
    int64_t lost_ns;
} W;

static size_t parked_home(const PyObject *greenlet)
{
    return (size_t)(((uint64_t)(uintptr_t)greenlet >> 4) * 0x9E3779B97F4A7C15u >> 20) & W.mask;
}

/* The greenlet's place, or the free one where it would be. */
static Parked *parked_at(const PyObject *greenlet)
{
    size_t at = parked_home(greenlet);
    while (W.parked[at].greenlet != NULL && W.parked[at].greenlet != greenlet) {
        at = (at + 1) & W.mask;
    }
    return &W.parked[at];
}

static int parked_grow(void)
{
    if (W.parked != NULL && W.used * 2 <= W.mask) {
        return 0;
    }
    Parked *old = W.parked;
    size_t places = old != NULL ? W.mask + 1 : 0, room = places != 0 ? places * 2 : 256;
    Parked *grown = calloc(room, sizeof *grown);
    if (grown == NULL) {
        return -1;
    }
    W.parked = grown;
    W.mask = room - 1;
    for (size_t i = 0; i < places; i++) {
        if (old[i].greenlet != NULL) {
            *parked_at(old[i].greenlet) = old[i];
        }
    }
    free(old);
    return 0;
}

/* Takes an entry out; those behind it move up. What it referred to is the caller's. */
static Parked parked_remove(Parked *entry)
{
    Parked gone = *entry;
    size_t hole = (size_t)(entry - W.parked);
    W.used--;
    for (size_t at = hole;;) {
        at = (at + 1) & W.mask;
        if (W.parked[at].greenlet == NULL) {
            break;
        }
        size_t home = parked_home(W.parked[at].greenlet);
        if (((at - home) & W.mask) >= ((at - hole) & W.mask)) {
            W.parked[hole] = W.parked[at];
            hole = at;
        }
    }
    W.parked[hole].greenlet = NULL;
    return gone;
}

static void parked_release(Parked *entry)
{
    Py_XDECREF(entry->weak);
    Py_XDECREF(entry->request);
    Py_XDECREF(entry->stack);
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
    Parked *entry = W.used != 0 ? parked_at(greenlet) : NULL;
    if (entry != NULL && entry->greenlet != NULL) {
        parked_weigh(entry, now);
        Parked gone = parked_remove(entry);
        parked_release(&gone);
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
    PyObject *weak = request != NULL && parked_grow() == 0 ? PyWeakref_NewRef(greenlet, NULL) : NULL;
    Stack *stack = weak != NULL ? store_get(&W.store, PyThread_get_thread_ident(), frames, depth) : NULL;
    if (stack == NULL) {
        PyErr_Clear();
        Py_XDECREF(weak);
        return;
    }
    Parked *entry = parked_at(greenlet);
    if (entry->greenlet != NULL) { /* that of one which died unseen */
        Parked gone = parked_remove(entry);
        parked_release(&gone);
        entry = parked_at(greenlet);
    }
    Py_INCREF(request);
    Py_INCREF(stack);
    *entry = (Parked){greenlet, weak, request, stack, now};
    W.used++;
}

/* Whether an entry's greenlet is still where it was parked: somebody may have taken our place at greenlet. */
static int still_parked(const Parked *entry)
{
    PyObject *greenlet = NULL;
#if PY_VERSION_HEX >= 0x030D0000
    (void)PyWeakref_GetRef(entry->weak, &greenlet);
#else
    greenlet = PyWeakref_GetObject(entry->weak);
    Py_XINCREF(greenlet);
#endif
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
    for (size_t i = 0; W.used != 0 && i <= W.mask; i++) {
        while (W.parked[i].greenlet != NULL && !still_parked(&W.parked[i])) {
            Parked gone = parked_remove(&W.parked[i]);
            parked_release(&gone);
        }
        if (W.parked[i].greenlet != NULL) {
            parked_weigh(&W.parked[i], now);
        }
    }
}

static void forget_parked(void)
{
    for (size_t i = 0; W.used != 0 && i <= W.mask; i++) {
        while (W.parked[i].greenlet != NULL) {
            Parked gone = parked_remove(&W.parked[i]);
            parked_release(&gone);
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
        S.on_behalf_ns += read_clock(CLOCK_MONOTONIC) - now;
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
        if (W.parked == NULL || parked_at(greenlet)->greenlet == NULL) {
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
    if (W.store.used > MAX_STACKS / 2) {
        Stack **gone = NULL;
        for (size_t i = 0; i <= W.store.mask; i++) {
            if (W.store.slots[i] != NULL) { /* a parked greenlet has its own reference */
                W.store.slots[i]->kept = Py_REFCNT(W.store.slots[i]) > 1;
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
