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
    Stack *stack;      /* references, or NULL; under the lock */
    PyObject *request;
} Held;

enum { OFF, ON, ENDING };

/* Of one look: the thread works; so it does, but somebody else looks at it; it waits. */
typedef enum { WORKS, SEEN, WAITS } Way;

typedef struct {
    int state; /* under the lock */
    pthread_mutex_t mutex;
    pthread_cond_t tick, look;
    pthread_t ticker, looker, main_thread;
    int stopping; /* the rest up to the store: under the mutex once the threads run */
    int raw;     /* whether single samples are kept, and */
    int raw_cpu; /* whether they weigh CPU time */
    int64_t interval;
    int pending;
    int64_t pending_since, broke, asked_cpu;
    int64_t respite; /* the main thread is not asked before: its stack is deep */
    int waits_for_lock; /* the looker does */
    int look_at_main; /* 0: no; else 1 + the Way to take it */
    int64_t main_looked;
    int64_t lost_ns;
    Slot main;
    Held held;
    Raw *raws;
    size_t n_raws;
    Slot *others; /* the array: the looker, with lock and mutex; its weights: with the mutex */
    size_t n_others, room_others;
    Store store;
    long ticks, asked, answered, looks;
    int64_t own_ns;     /* CPU time of ticker and looker that have ended */
    int64_t on_behalf_ns; /* that looks, switches and collections have cost the application's threads; under the lock */
    unsigned long collecting; /* the thread that collects, and its clocks when it began; under the lock */
    int64_t collects_since, collects_cpu;
    PyInterpreterState *interpreter; /* under the lock: */
    PyThreadState *looker_state;
    PyObject *own;
    PyObject *marker, *tracked; /* a code object and a dictionary, or both NULL */
    PyObject *skipped;   /* a code object of ours that is called in the application's threads */
    PyObject *collector; /* a code object that stands for a collection */
    PyObject *handler;
    int by_signal;    /* the main thread is asked with a signal, not with a pending call */
    int signum;       /* 0: none */
    int attached;     /* the handler is installed */
    int reachable;    /* the main thread can be asked */
    const char *refusal;
    int main_state_file, threads_file; /* /proc */
    unsigned long generation;          /* the looker's: */
    uint64_t threads;                  /* their fingerprint */
    uint64_t frameless;
    int64_t deep; /* frames of deep stacks in its last look */
    int newborn; /* how many more looks, at most, until a new thread has its first frame */
    int64_t checked, scanned;
} Sampler;

extern Sampler S;

/* With the mutex, which is let go meanwhile. */
void wait_until(pthread_cond_t *condition, int64_t when);

#endif
