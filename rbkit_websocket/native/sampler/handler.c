#include "handler.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "itself.h"
#include "state.h"

Handler handler;

#if HAVE_SIGNAL
static PyObject *on_signal(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(arguments))
{
    look_at_self();
    Py_RETURN_NONE;
}

PyMethodDef on_signal_method = {"rbkit_sampler", on_signal, METH_VARARGS, "Takes a sample."};

/* Whether the signal's Python-level handler is ours; -1 with an exception. Any thread. */
static int handler_is(PyObject *module, PyObject *what)
{
    PyObject *now = PyObject_CallMethod(module, "getsignal", "i", handler.signum);
    if (now == NULL) {
        return -1;
    }
    int same = what != NULL ? now == what : (PyLong_Check(now) && PyLong_AsLong(now) == 0);
    Py_DECREF(now);
    return same;
}

static int signal_is_free(PyObject *module, int signum)
{
    struct sigaction action;
    if (sigaction(signum, NULL, &action) != 0 || action.sa_handler != SIG_DFL) {
        return 0;
    }
    handler.signum = signum;
    return handler_is(module, NULL);
}

static int set_handler(PyObject *module, PyObject *function)
{
    PyObject *old = function != NULL ? PyObject_CallMethod(module, "signal", "iO", handler.signum, function)
                                     : PyObject_CallMethod(module, "signal", "ii", handler.signum, 0);
    if (old == NULL) {
        return -1;
    }
    Py_DECREF(old);
    return 0;
}

int settle_signal(void *Py_UNUSED(unused))
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *module = PyImport_ImportModule("_signal"); /* the original, whatever gevent patches */
    if (module != NULL && run.state == ON && !handler.attached && handler.signum != 0 && handler.refusal == NULL) {
        int is_free = signal_is_free(module, handler.signum);
        if (is_free == 1 && set_handler(module, handler.function) == 0) {
            handler.attached = 1;
            PyObject *done = PyObject_CallMethod(module, "siginterrupt", "ii", handler.signum, 0);
            Py_XDECREF(done);
        }
        if (!handler.attached) {
            handler.refusal = "the signal has been taken by the application";
        }
        pthread_mutex_lock(&shared.mutex);
        shared.asking.reachable = handler.attached;
        pthread_mutex_unlock(&shared.mutex);
    }
    else if (module != NULL && run.state == OFF && handler.attached) {
        handler.attached = 0;
        if (handler_is(module, handler.function) == 1) {
            /* A signal that is still on its way would end the process: ignoring it discards it first. */
            PyObject *old = PyObject_CallMethod(module, "signal", "ii", handler.signum, 1);
            Py_XDECREF(old);
            if (old != NULL) {
                set_handler(module, NULL);
            }
        }
    }
    Py_XDECREF(module);
    PyErr_Restore(type, value, trace); /* also drops what went wrong here: there is nobody to tell */
    return 0;
}

int on_audit(const char *event, PyObject *Py_UNUSED(arguments), void *Py_UNUSED(unused))
{
    if (event[0] != 'o' || strcmp(event, "os.exec") != 0 || !handler.attached) {
        return 0;
    }
    pthread_mutex_lock(&shared.mutex);
    shared.asking.reachable = 0;
    pthread_mutex_unlock(&shared.mutex);
    handler.refusal = "an exec has been tried";
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigaction(handler.signum, &action, NULL);
    action.sa_handler = SIG_DFL;
    sigaction(handler.signum, &action, NULL);
    return 0;
}

void have_signal_settled(void)
{
    if (pthread_equal(pthread_self(), config.main_thread)) {
        settle_signal(NULL);
    }
    else {
        /* We hold the lock, and a main thread that gets it looks for pending calls. Should the queue be full, the
         * next start or stop tries again; the handler does no harm in the meantime. */
        Py_AddPendingCall(settle_signal, NULL);
    }
}

void notice_loss(void)
{
    if (run.state != ON || !handler.attached) {
        return;
    }
    PyObject *module = PyImport_ImportModule("_signal");
    int ours = module != NULL ? handler_is(module, handler.function) : -1;
    Py_XDECREF(module);
    PyErr_Clear();
    if (ours == 0) {
        handler.attached = 0;
        handler.refusal = "the signal has been taken by the application";
        pthread_mutex_lock(&shared.mutex);
        shared.asking.reachable = 0;
        pthread_mutex_unlock(&shared.mutex);
    }
}
#else
int settle_signal(void *Py_UNUSED(unused))
{
    return 0;
}
int on_audit(const char *Py_UNUSED(event), PyObject *Py_UNUSED(arguments), void *Py_UNUSED(unused))
{
    return 0;
}
void have_signal_settled(void) {}
void notice_loss(void) {}
#endif

int choose_signal(int signum)
{
    handler.refusal = NULL;
    shared.asking.reachable = !config.by_signal;
#if HAVE_SIGNAL
    if (!config.by_signal) {
        return 0;
    }
    if (signum == 0) {
        handler.refusal = "no signal may be used";
    }
    else if (!handler.attached || signum != handler.signum) {
        PyObject *module = PyImport_ImportModule("_signal");
        int is_free = module != NULL ? signal_is_free(module, signum) : -1;
        Py_XDECREF(module);
        if (is_free < 0) {
            return -1;
        }
        handler.refusal = is_free ? NULL : "the signal is in use by the application";
    }
    shared.asking.reachable = handler.attached && handler.refusal == NULL;
#else
    (void)signum;
#endif
    return 0;
}
