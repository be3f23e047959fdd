/* The CPU sampler. Linux, CPython 3.11 and later, builds with the interpreter's lock ("the lock" below).
 *
 * Two threads. The ticker wakes up each interval, never takes the lock and reads only the main thread's CPU clock:
 *
 *   - it has not moved since a look that found the thread at rest: the thread cannot have run a bytecode, so its stack
 *     is the same. The tick's weight goes to that stack; nobody is disturbed.
 *   - the thread runs: it is asked to look at itself between two bytecodes, by a pending call (see breaker.h) or,
 *     before Python 3.13 and only where that cannot be done, by a signal whose Python-level handler is a function of
 *     ours.
 *   - it moved but waits now: the looker is woken. It takes the lock, which is likely to be free, and looks.
 *
 * The looker does the same for all other threads, about 190 times a second if one of them has run: to take the lock
 * from a thread that computes takes one switch interval (5 ms). Threads whose CPU clock stands still cost a system call.
 *
 * A sample weighs what both clocks say: the time since the thread's last one, and the CPU time that it has used since.
 * Where the main thread is seen to wait is not where it worked: the CPU time it has used before goes to where it is
 * next seen at work.
 *
 * A sample may belong to a request: a function of Python (set_marker) is on the stack while one runs, and the object of
 * its frame leads to the request, by a look into a dictionary. When it has returned and the body is still on its way, the
 * web server's function tells (served.h). What is kept is an object that stands for the request; drain() asks it
 * for its name.
 *
 * A look calls no Python, and takes the request for it back before anything else may run: whatever ran in between would
 * be what the next look finds, and be charged with all the time that passed before.
 *
 * The mutex is held for short moments and never while waiting for the lock; the lock may be held while taking it.
 * Whoever holds the mutex runs no Python code and allocates nothing that the collector tracks.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../common/compat.h"
#include "../common/frames.h"
#include "breaker.h"
#include "collections.h"
#include "drain.h"
#include "fold.h"
#include "handler.h"
#include "looker.h"
#include "requests.h"
#include "run.h"
#include "stack.h"
#include "state.h"
#include "threads.h"
#include "waits.h"

#ifndef __linux__
#error "only Linux has CPU clocks by kernel thread id"
#endif

PyDoc_STRVAR(cost_doc,
"cost()\n--\n\n"
"Microseconds of CPU time that the sampler's own threads have used so far, and that it has cost the application's.");

static PyObject *native_cost(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    int64_t own = shared.own_ns;
    clockid_t clock;
    if (run.state == ON) {
        own += pthread_getcpuclockid(run.ticker, &clock) == 0 ? read_clock(clock) : 0;
        own += pthread_getcpuclockid(run.looker, &clock) == 0 ? read_clock(clock) : 0;
    }
    return Py_BuildValue("LL", (long long)(own / 1000), (long long)(run.on_behalf_ns / 1000));
}

PyDoc_STRVAR(status_doc,
"status()\n--\n\n"
"A map: ``running``, ``reach`` (how the main thread is asked: \"signal\", \"pending call\" or \"\"), ``refusal`` (why\n"
"not, or None), ``attached`` (the signal's handler is ours), ``walk`` (\"internal\" or \"public\"), and counts since the\n"
"start: ``ticks``, ``asked``, ``answered``, ``looks``; ``stacks`` kept now, ``threads`` known besides the main one.");

static PyObject *native_status(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return Py_BuildValue(
        "{s:O,s:s,s:z,s:O,s:s,s:l,s:l,s:l,s:l,s:n,s:n}", "running", run.state == ON ? Py_True : Py_False, "reach",
        run.state == ON && shared.asking.reachable ? (config.by_signal ? "signal" : "pending call") : "", "refusal",
        handler.refusal, "attached", handler.attached ? Py_True : Py_False, "walk",
        internal_walk ? "internal" : "public", "ticks", shared.asking.ticks, "asked", shared.asking.asked, "answered",
        shared.asking.answered, "looks", shared.looks, "stacks", (Py_ssize_t)shared.results.store.stacks.used,
        "threads", (Py_ssize_t)shared.n_others);
}

PyDoc_STRVAR(use_internal_doc,
"use_internal_walk(wanted)\n--\n\n"
"Switches between the two ways to walk frames; returns whether the internal one is in use now.");

static PyObject *native_use_internal_walk(PyObject *Py_UNUSED(module), PyObject *argument)
{
    int wanted = PyObject_IsTrue(argument);
    if (wanted < 0) {
        return NULL;
    }
    internal_walk = wanted && walks_agree();
    return PyBool_FromLong(internal_walk);
}

static PyMethodDef methods[] = {
    {"cost", native_cost, METH_NOARGS, cost_doc},
    {"status", native_status, METH_NOARGS, status_doc},
    {"use_internal_walk", native_use_internal_walk, METH_O, use_internal_doc},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    if (config.collector == NULL) { /* else it is the first interpreter's already, which may be sampled now */
        if (PyType_Ready(&StackType) < 0) {
            return -1;
        }
        config.collector = (PyObject *)PyCode_NewEmpty("<interpreter>", "(garbage collection)", 0);
        if (config.collector == NULL) {
            return -1;
        }
        internal_walk = walks_agree();
        config.by_signal = HAVE_SIGNAL && !breaker_is_known();
        if (release_that_runs() == RELEASE_NEWER && (internal_walk < HAVE_INTERNAL_WALK || config.by_signal)) {
            internal_walk = 0;
            config.by_signal = HAVE_SIGNAL;
        }
    }
    PyMethodDef *others[] = {
        run_methods,   requests_methods, looker_methods, collections_methods, drain_methods,
        waits_methods, threads_methods,  stack_methods,  fold_methods,
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (PyModule_AddFunctions(module, others[i]) < 0) {
            return -1;
        }
    }
    return PyModule_AddIntConstant(module, "RELEASE", release_that_runs()) ||
           PyModule_AddStringConstant(module, "TESTED_RELEASES", TESTED_RELEASES);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, INTERPRETER_SLOT{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "rbkit_websocket.native._native",
    .m_doc = "The CPU sampler in C: one a process. Called by one thread at a time, the server's.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
