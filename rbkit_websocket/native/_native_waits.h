/* Where requests wait: what greenlet tells of its switches, while somebody wants to know.
 *
 * A greenlet that is switched away from is parked until it is switched to again, and that time is measured, not
 * sampled: however short it was, however late anybody asks. greenlet calls one function a thread for each switch
 * (settrace); ours calls the one that was there before it. Of a request's greenlet the parked stack is kept.
 *
 * Everything here is under the interpreter's lock, and runs no Python code but the function that was there before.
 */
#ifndef RBKIT_NATIVE_WAITS_H
#define RBKIT_NATIVE_WAITS_H

#include <Python.h>

#include "_native_store.h"

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

static int64_t waits_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000LL + now.tv_nsec;
}

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

static void park(PyObject *greenlet, int64_t now, Marker found,
                 PyObject *(*request_of)(PyThreadState *, const Marker *))
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
    int64_t now = waits_now();
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

#endif
