/* A signal, before Python 3.13 and only where a pending call does not do: who owns it, when it may be sent. */
#ifndef RBKIT_HANDLER_H
#define RBKIT_HANDLER_H

#include <Python.h>

#include "../common/compat.h"

/* Under the lock; the ticker reads the number, which stays as it is while that runs. */
typedef struct {
    PyObject *function; /* the Python-level handler */
    int signum;         /* 0: none */
    int attached;       /* it is installed */
    const char *refusal;
} Handler;

extern Handler handler;

#if HAVE_SIGNAL
/* The signal's Python-level handler. */
extern PyMethodDef on_signal_method;
#endif

/* Finds a free signal or says why it cannot be used; only where it is needed. */
int choose_signal(int signum);

/* Installs or gives back the handler, as the state wants it. In the main thread, with the lock; a pending call. */
int settle_signal(void *unused);

/* The same from any thread with the lock. */
void have_signal_settled(void);

/* Whether the application has installed a handler of its own where ours was: the signal is its own from now on. */
void notice_loss(void);

/* A signal that waits when the process becomes another program would end that: its handlers are the default ones. So
 * before an exec none is sent any more and what waits is discarded. (Nothing else tells of one.) */
int on_audit(const char *event, PyObject *arguments, void *unused);

#endif
