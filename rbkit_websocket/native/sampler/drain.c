#include "drain.h"

#include <stdlib.h>
#include <string.h>

#include "handler.h"
#include "served.h"
#include "state.h"
#include "weights.h"

/* What drain() gives of one stack in requests of one name. */
typedef struct {
    Stack *stack;
    PyObject *name; /* borrowed from the dictionary of names, or None */
    Weight weight;
    long count;
    size_t older;
} Total;

/* Has a table of less than half of what it may hold; with the lock, all that was drained still in it. */
static void make_room(void)
{
    Stack **gone = NULL;
    size_t n_gone = 0;
    pthread_mutex_lock(&shared.mutex);
    if (shared.results.store.stacks.used > MAX_STACKS / 2) {
        for (size_t i = 0; i < table_places(&shared.results.store.stacks); i++) {
            Stack *stack = store_at(&shared.results.store, i);
            if (stack != NULL) {
                stack->kept = Py_REFCNT(stack) > 1 && shared.results.store.stacks.used <= MAX_STACKS * 3 / 4;
            }
        }
        if (shared.main.last != NULL) {
            shared.main.last->kept = 1;
        }
        for (size_t i = 0; i < shared.n_others; i++) {
            if (shared.others[i].last != NULL) {
                shared.others[i].last->kept = 1;
            }
        }
        for (size_t i = 0; i < shared.results.n_raws; i++) {
            shared.results.raws[i].stack->kept = 1;
        }
        n_gone = store_evict(&shared.results.store, &gone);
    }
    pthread_mutex_unlock(&shared.mutex);
    for (size_t i = 0; i < n_gone; i++) {
        Py_DECREF(gone[i]);
    }
    free(gone);
}

/* The name of a request, each one object in ``names``; None where it has none. Borrowed. Runs Python code. */
static PyObject *name_of(PyObject *names, PyObject *request)
{
    PyObject *known = request != NULL ? PyDict_GetItemWithError(names, request) : Py_None;
    if (known != NULL) {
        return known;
    }
    PyErr_Clear();
    PyObject *name = PyObject_GetAttrString(request, "name");
    PyObject *only = name != NULL && PyUnicode_CheckExact(name) ? PyDict_SetDefault(names, name, name) : NULL;
    if (only != NULL && PyDict_SetItem(names, request, only) < 0) {
        only = NULL;
    }
    Py_XDECREF(name);
    PyErr_Clear();
    return only != NULL ? only : Py_None;
}

/* Adds up the sums of each stack whose requests have one name; returns how many there are. Runs no Python code. */
static size_t add_up(const Sum *sums, PyObject *const *names, size_t n, Total *totals)
{
    size_t n_totals = 0;
    for (size_t i = 0; i < n; i++) {
        Stack *stack = sums[i].stack;
        stack->group = 0;
    }
    for (size_t i = 0; i < n; i++) {
        Stack *stack = sums[i].stack;
        size_t at = stack->group;
        while (at != 0 && totals[at - 1].name != names[i]) {
            at = totals[at - 1].older;
        }
        if (at == 0) {
            totals[n_totals++] = (Total){stack, names[i], {0, 0}, 0, stack->group};
            at = stack->group = n_totals;
        }
        weight_add(&totals[at - 1].weight, sums[i].weight);
        totals[at - 1].count += sums[i].count;
    }
    for (size_t i = 0; i < n_totals; i++) {
        /* What is less than a microsecond stays for the next time. */
        Weight *weight = &totals[i].weight, *rest = &totals[i].stack->rest;
        weight_add(weight, *rest);
        *rest = (Weight){weight->wall_ns % 1000, weight->cpu_ns % 1000};
    }
    return n_totals;
}

PyObject *totals_list(const Sum *sums, size_t n, PyObject *waiting)
{
    PyObject *names = PyDict_New(), *list = NULL;
    PyObject **found = malloc((n + 1) * sizeof *found);
    Total *totals = malloc((n + 1) * sizeof *totals);
    if (names == NULL || found == NULL || totals == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        found[i] = i > 0 && sums[i].request == sums[i - 1].request ? found[i - 1] : name_of(names, sums[i].request);
    }
    size_t n_totals = add_up(sums, found, n, totals);
    list = PyList_New((Py_ssize_t)n_totals);
    for (size_t i = 0; list != NULL && i < n_totals; i++) {
        PyObject *item = Py_BuildValue("OOLLlO", (PyObject *)totals[i].stack, totals[i].name,
                                       (long long)(totals[i].weight.wall_ns / 1000),
                                       (long long)(totals[i].weight.cpu_ns / 1000), totals[i].count, waiting);
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
done:
    free(totals);
    free(found);
    Py_XDECREF(names);
    return list;
}

static PyObject *raws_list(const Raw *raws, size_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *item =
            Py_BuildValue("dOOd", raws[i].milliseconds, (PyObject *)raws[i].stack,
                          raws[i].request != NULL ? raws[i].request : Py_None, (double)raws[i].weight_ns / 1000.0);
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

PyDoc_STRVAR(drain_doc,
"drain()\n--\n\n"
"What has been sampled since the last call: ``(totals, raw, lost_us)``.\n\n"
"``totals``: list of ``(stack, the request's name or None, wall us, CPU us, count, False)``, each stack and name once;\n"
"``raw``: list of ``(wall-clock milliseconds, stack, request or None, weight in us)`` in order, empty unless\n"
"``set_raw(True, ...)``; ``lost_us``: wall us that no stack could be kept for.");

static PyObject *native_drain(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    notice_loss();
    /* Copied with the mutex, made into objects without: that may start a collection. The stacks are the store's, and
     * nobody takes them out of it but make_room() below (one thread drains). The requests' references change hands. */
    Sum *sums = NULL;
    Raw *raws = NULL;
    size_t n_sums = 0, n_raws = 0;
    int64_t lost = 0;
    int failed = 0;
    pthread_mutex_lock(&shared.mutex);
    flush_idle(&shared.main);
    for (size_t i = 0; i < shared.n_others; i++) {
        flush_idle(&shared.others[i]);
    }
    if (shared.results.n_raws != 0) {
        raws = malloc(shared.results.n_raws * sizeof *raws);
        failed = raws == NULL;
    }
    if (!failed) {
        sums = shared.results.store.sums;
        n_sums = shared.results.store.n_sums;
        shared.results.store.sums = NULL;
        shared.results.store.n_sums = shared.results.store.room_sums = 0;
        for (size_t i = 0; i < n_sums; i++) {
            sums[i].stack->sums = 0;
            Py_INCREF(sums[i].stack);
        }
        n_raws = shared.results.n_raws;
        shared.results.n_raws = 0;
        for (size_t i = 0; i < n_raws; i++) {
            raws[i] = shared.results.raws[i];
            Py_INCREF(raws[i].stack);
        }
        lost = shared.results.lost_ns / 1000;
        shared.results.lost_ns %= 1000;
    }
    pthread_mutex_unlock(&shared.mutex);
    PyObject *answer = NULL;
    if (failed) {
        PyErr_NoMemory();
    }
    else {
        PyObject *total = totals_list(sums, n_sums, Py_False);
        PyObject *raw = raws_list(raws, n_raws);
        if (total != NULL && raw != NULL) {
            answer = Py_BuildValue("OOL", total, raw, (long long)lost);
        }
        Py_XDECREF(total);
        Py_XDECREF(raw);
    }
    for (size_t i = 0; i < n_sums; i++) {
        Py_XDECREF(sums[i].request);
        Py_DECREF(sums[i].stack);
    }
    for (size_t i = 0; i < n_raws; i++) {
        Py_XDECREF(raws[i].request);
        Py_DECREF(raws[i].stack);
    }
    free(sums);
    free(raws);
    make_room();
    forget_served();
    return answer;
}

PyDoc_STRVAR(set_raw_doc,
"set_raw(wanted, cpu_clock)\n--\n\n"
"Whether drain() gives single samples too, and whether those weigh CPU time, not time.");

static PyObject *native_set_raw(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int raw, cpu_clock;
    if (!PyArg_ParseTuple(arguments, "pp", &raw, &cpu_clock)) {
        return NULL;
    }
    pthread_mutex_lock(&shared.mutex);
    shared.results.raw = raw && shared.results.raws != NULL;
    shared.results.raw_cpu = cpu_clock;
    size_t n = raw ? 0 : shared.results.n_raws;
    Raw *unwanted = n != 0 ? malloc(n * sizeof *unwanted) : NULL;
    if (unwanted != NULL) { /* else they are handed out with the next drain */
        memcpy(unwanted, shared.results.raws, n * sizeof *unwanted);
        shared.results.n_raws = 0;
    }
    pthread_mutex_unlock(&shared.mutex);
    for (size_t i = 0; unwanted != NULL && i < n; i++) {
        Py_XDECREF(unwanted[i].request);
    }
    free(unwanted);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(held_doc,
"held()\n--\n\n"
"When the main thread has last let nobody look at it for long, and where that was: ``(began, ended, stack, request)``,\n"
"seconds of the monotonic clock, the request or None; None if it never has.");

static PyObject *native_held(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (run.held.stack == NULL) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("ddOO", (double)run.held.began / SECOND, (double)run.held.ended / SECOND, run.held.stack,
                         run.held.request != NULL ? run.held.request : Py_None);
}

PyMethodDef drain_methods[] = {
    {"drain", native_drain, METH_NOARGS, drain_doc},
    {"set_raw", native_set_raw, METH_VARARGS, set_raw_doc},
    {"held", native_held, METH_NOARGS, held_doc},
    {NULL, NULL, 0, NULL},
};
