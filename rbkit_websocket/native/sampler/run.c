#include "run.h"

#include "state.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/compat.h"
#include "breaker.h"
#include "collections.h"
#include "handler.h"
#include "looker.h"
#include "served.h"
#include "ticker.h"
#include "waits.h"
#include "weights.h"

static pid_t tid_of_clock(clockid_t clock)
{
    return (pid_t) ~((unsigned int)(clock >> 3));
}

static void reset_threads(void)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&shared.mutex, NULL);
    pthread_cond_init(&shared.tick, &attributes);
    pthread_cond_init(&shared.look, &attributes);
    pthread_condattr_destroy(&attributes);
    shared.stopping = shared.asking.pending = shared.asking.look = 0;
}

/* In a forked child that ran no hook of ours: nothing of us is alive. */
static void in_child(void)
{
    run.state = OFF;
    looker_forget();
    reset_threads();
}

static int start_threads(void)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512 * 1024);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the application's signals are for its own threads */
    int failed = pthread_create(&run.ticker, &attributes, ticker_main, NULL);
    if (!failed) {
        failed = pthread_create(&run.looker, &attributes, looker_main, NULL);
        if (failed) {
            pthread_mutex_lock(&shared.mutex);
            shared.stopping = 1;
            pthread_cond_signal(&shared.tick);
            pthread_mutex_unlock(&shared.mutex);
            pthread_join(run.ticker, NULL);
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed;
}

/* After the threads have ended: all that is left of the run is in the store. */
static void end_slots(void)
{
    size_t n = shared.n_others;
    pthread_mutex_lock(&shared.mutex);
    flush_idle(&shared.main);
    for (size_t i = 0; i < n; i++) {
        flush_idle(&shared.others[i]);
    }
    shared.n_others = 0;
    pthread_mutex_unlock(&shared.mutex);
    Py_CLEAR(shared.main.request);
    for (size_t i = 0; i < n; i++) {
        Py_CLEAR(shared.others[i].request);
    }
}

static void drop_raws(void)
{
    remember_held(0, 0, NULL, NULL);
    while (shared.results.n_raws > 0) {
        Py_XDECREF(shared.results.raws[--shared.results.n_raws].request);
    }
}

static PyObject *native_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    while (run.state == ENDING) { /* another thread ends it: at exit both the server and atexit do */
        Py_BEGIN_ALLOW_THREADS usleep(1000);
        Py_END_ALLOW_THREADS
    }
    if (run.state == ON) {
        run.state = ENDING;
        pthread_mutex_lock(&shared.mutex);
        shared.stopping = 1;
        pthread_cond_signal(&shared.tick);
        pthread_cond_signal(&shared.look);
        pthread_mutex_unlock(&shared.mutex);
        Py_BEGIN_ALLOW_THREADS pthread_join(run.ticker, NULL);
        pthread_join(run.looker, NULL);
        Py_END_ALLOW_THREADS end_slots();
        run.state = OFF;
        ticker_end();
        looker_end();
        have_signal_settled();
    }
    Py_RETURN_NONE;
}

static PyMethodDef at_exit_method = {"rbkit_sampler_at_exit", native_stop, METH_NOARGS, NULL};

/* Once a process, and with the first start: importing leaves nothing behind. */
static int install_hooks(void)
{
    static int installed = 0;
    if (installed) {
        return 0;
    }
    PyObject *module = PyImport_ImportModule("atexit");
    PyObject *function = PyCFunction_New(&at_exit_method, NULL);
    PyObject *done = module && function ? PyObject_CallMethod(module, "register", "O", function) : NULL;
    Py_XDECREF(module);
    Py_XDECREF(function);
    if (done != NULL && HAVE_SIGNAL && PySys_AddAuditHook(on_audit, NULL) < 0) {
        Py_CLEAR(done);
    }
    if (done == NULL || pthread_atfork(NULL, NULL, in_child) != 0) {
        if (!PyErr_Occurred()) {
            PyErr_NoMemory();
        }
        Py_XDECREF(done);
        return -1;
    }
    Py_DECREF(done);
    installed = 1;
    return 0;
}

PyDoc_STRVAR(start_doc,
"start(interval_ns, main_ident, signum, own, skipped)\n--\n\n"
"Begins to sample all threads of this interpreter whose identity is not in the set ``own``.\n\n"
"Args:\n"
"    interval_ns: between two ticks.\n"
"    main_ident: identity of the main thread.\n"
"    signum: what the main thread may be asked with before Python 3.13; 0: nothing.\n"
"    skipped: a code object that is nobody's work: its frame is left out where it is the innermost.\n"
"Raises:\n"
"    RuntimeError: it runs already, this is a sub-interpreter, or threads cannot be started.");

static PyObject *native_start(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int signum;
    long long interval;
    unsigned long main_ident;
    PyObject *own, *skipped;
    if (!PyArg_ParseTuple(arguments, "LkiO!O!", &interval, &main_ident, &signum, &PySet_Type, &own, &PyCode_Type,
                          &skipped)) {
        return NULL;
    }
    if (run.state != OFF) {
        PyErr_SetString(PyExc_RuntimeError, "another native sampler runs in this process");
        return NULL;
    }
    if (!is_first_interpreter()) {
        PyErr_SetString(PyExc_RuntimeError, "this is a sub-interpreter");
        return NULL;
    }
    if (interval < 1000 || signum < 0 || signum > SIGRTMAX) {
        PyErr_SetString(PyExc_ValueError, "interval or signal number out of range");
        return NULL;
    }
    config.main_thread = (pthread_t)main_ident;
    clockid_t main_clock;
    if (pthread_getcpuclockid(config.main_thread, &main_clock) != 0) {
        PyErr_SetString(PyExc_RuntimeError, "the main thread has no CPU clock");
        return NULL;
    }
#if HAVE_SIGNAL
    if (config.by_signal && handler.attached && signum != handler.signum) {
        PyErr_SetString(PyExc_RuntimeError, "the signal used before has not been given back yet");
        return NULL;
    }
    if (handler.function == NULL && (handler.function = PyCFunction_New(&on_signal_method, NULL)) == NULL) {
        return NULL;
    }
#endif
    if (shared.results.raws == NULL && (shared.results.raws = malloc(MAX_RAW * sizeof *shared.results.raws)) == NULL) {
        return PyErr_NoMemory();
    }
    if (install_hooks() < 0 || choose_signal(signum) < 0) {
        return NULL;
    }
    reset_threads();
    config.interpreter = PyInterpreterState_Get();
    Py_INCREF(own);
    Py_XSETREF(config.own, own);
    Py_INCREF(skipped);
    Py_XSETREF(config.skipped, skipped);
    collections_forget();
    shared.interval = interval;
    handler.signum = signum;
    int64_t now = read_clock(CLOCK_MONOTONIC);
    drop_raws();
    shared.main = (Slot){.ident = main_ident, .clock = main_clock, .wall_seen = now};
    shared.main.cpu_seen = read_clock(shared.main.clock);
    shared.results.lost_ns = 0;
    shared.asking.respite = 0;
    shared.asking.ticks = shared.asking.asked = shared.asking.answered = shared.looks = 0;
    shared.asking.looked = 0;
    ticker_begin(tid_of_clock(main_clock));
    looker_begin(now);
    look(1);
    int failed = start_threads();
    if (failed) {
        ticker_end();
        looker_end();
        PyErr_Format(PyExc_RuntimeError, "its threads cannot be started: %s", strerror(failed));
        return NULL;
    }
    run.state = ON;
    if (config.by_signal && handler.refusal == NULL) {
        have_signal_settled();
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(forget_doc,
"forget()\n--\n\n"
"In a forked child, in the thread that forked: nothing of the parent's sampler goes on here; the signal is given back.");

static PyObject *native_forget(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    in_child();
    waits_forget();
    ticker_end();
    looker_end();
    end_slots();
    drop_raws();
    forget_served();
    config.main_thread = pthread_self();
    settle_signal(NULL);
    Py_RETURN_NONE;
}

static PyObject *native_set_interval(PyObject *Py_UNUSED(module), PyObject *argument)
{
    long long interval = PyLong_AsLongLong(argument);
    if (interval == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (interval < 1000) {
        PyErr_SetString(PyExc_ValueError, "interval out of range");
        return NULL;
    }
    pthread_mutex_lock(&shared.mutex);
    shared.interval = interval;
    if (run.state == ON) {
        pthread_cond_signal(&shared.tick);
        pthread_cond_signal(&shared.look);
    }
    pthread_mutex_unlock(&shared.mutex);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(use_signal_doc,
"use_signal(wanted)\n--\n\n"
"Chooses how the main thread is asked from the next start on: False takes the quicker way if there is one here, which\n"
"is the default. Returns whether it will be the signal; True only before Python 3.13.\n\n"
"Raises:\n"
"    RuntimeError: the sampler runs.");

static PyObject *native_use_signal(PyObject *Py_UNUSED(module), PyObject *argument)
{
    int wanted = PyObject_IsTrue(argument);
    if (wanted < 0) {
        return NULL;
    }
    if (run.state != OFF || handler.attached) {
        PyErr_SetString(PyExc_RuntimeError, "the sampler runs");
        return NULL;
    }
    config.by_signal = HAVE_SIGNAL && (wanted || !breaker_is_known());
    return PyBool_FromLong(config.by_signal);
}

PyDoc_STRVAR(needs_signal_doc, "needs_signal()\n--\n\nWhether the main thread is asked with a signal.");

static PyObject *native_needs_signal(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(config.by_signal);
}

PyMethodDef run_methods[] = {
    {"start", native_start, METH_VARARGS, start_doc},
    {"stop", native_stop, METH_NOARGS, "stop()\n--\n\nEnds both threads; what waits may still be drained."},
    {"forget", native_forget, METH_NOARGS, forget_doc},
    {"set_interval", native_set_interval, METH_O, "set_interval(interval_ns)\n--\n\nAlso while it runs."},
    {"use_signal", native_use_signal, METH_O, use_signal_doc},
    {"needs_signal", native_needs_signal, METH_NOARGS, needs_signal_doc},
    {NULL, NULL, 0, NULL},
};
