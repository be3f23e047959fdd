/* What the sampler's threads and the module's functions share. */
#ifndef RBKIT_STATE_H
#define RBKIT_STATE_H

#include <Python.h> /* defines _GNU_SOURCE */

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "../common/clock.h"
#include "store.h"

#define MAX_RAW 20000
/* Between two looks that may have to force somebody to let go of the lock. */
#define LOOK_PERIOD (5 * SECOND / 1000)

typedef struct {
    unsigned long ident;
    clockid_t clock;
    int64_t wall_seen; /* when it was last weighed */
    int64_t cpu_seen;  /* its CPU clock then */
    int64_t cpu_owed;  /* used before it was seen to wait: for where it is seen at work */
    int rested;        /* that reading was made with the lock held, by another thread */
    Stack *last;       /* borrowed from the store, which keeps it */
    PyObject *request; /* that it belonged to: a reference, or NULL; changed with lock and mutex */
    int64_t idle_ns;   /* weight for ``last`` that is not in the store yet */
    long idle_count;
    int64_t raw_ns; /* weight not handed out as a raw sample yet */
    unsigned long seen;
} Slot;

typedef struct {
    double milliseconds;
    Stack *stack;
    PyObject *request; /* a reference, or NULL */
    int64_t weight_ns; /* of the clock that is published */
} Raw;

/* When the main thread has last let nobody in for long, and where that was. */
typedef struct {
    int64_t began, ended;
    Stack *stack; /* references, or NULL; under the lock */
    PyObject *request;
} Held;

/* Of one look: the thread works; so it does, but somebody else looks at it; it waits. */
typedef enum { WORKS, SEEN, WAITS } Way;

/* What is sampled, and how. Under the lock; what the ticker reads stays as it is while that runs. */
typedef struct {
    PyInterpreterState *interpreter;
    pthread_t main_thread;
    int by_signal;              /* the main thread is asked with a signal, not with a pending call */
    PyObject *own;              /* the identities of threads that are left out */
    PyObject *marker, *tracked; /* a code object and a dictionary, or both NULL */
    PyObject *skipped;          /* a code object of ours that is called in the application's threads */
    PyObject *collector;        /* a code object that stands for a collection */
} Configuration;

enum { OFF, ON, ENDING };

/* The run. Under the lock. */
typedef struct {
    int state;
    pthread_t ticker, looker;
    Held held;
    int64_t on_behalf_ns; /* that looks, switches and collections have cost the application's threads */
} Run;

/* How the main thread is had to look at itself, or is looked at. */
typedef struct {
    int reachable; /* it can be asked */
    int pending;   /* it has been, and has not answered */
    int64_t pending_since, broke, cpu;
    int64_t respite; /* it is not asked before: its stack is deep */
    int look;        /* the looker is to: 0: no; else 1 + the Way to take it */
    int64_t looked;
    long ticks, asked, answered;
} Asking;

/* What has been seen. */
typedef struct {
    Store store;
    int64_t lost_ns;
    int raw;     /* whether single samples are kept, and */
    int raw_cpu; /* whether they weigh CPU time */
    Raw *raws;
    size_t n_raws;
} Results;

/* What the ticker, the looker and whoever has the lock share. All of it under its mutex, once the threads run. */
typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t tick, look;
    int stopping;
    int64_t interval;
    Asking asking;
    Slot main;
    Slot *others; /* the array: with lock and mutex, by the looker; its weights: with the mutex */
    size_t n_others, room_others;
    Results results;
    long looks;
    int64_t own_ns; /* CPU time of ticker and looker that have ended */
} Shared;

extern Configuration config;
extern Run run;
extern Shared shared;

/* With the mutex, which is let go meanwhile. */
void wait_until(pthread_cond_t *condition, int64_t when);

#endif
