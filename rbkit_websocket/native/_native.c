/* The CPU sampler. Linux, CPython 3.10 and later, builds with the interpreter's lock ("the lock" below).
 *
 * Two threads. The ticker wakes up each interval, never takes the lock and reads only the main thread's CPU clock:
 *
 *   - it has not moved since a look that found the thread at rest: the thread cannot have run a bytecode, so its stack
 *     is the same. The tick's weight goes to that stack; nobody is disturbed.
 *   - the thread runs: it is asked to look at itself between two bytecodes, by a pending call (see _native_ask.h) or,
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
 * web server's function tells (_native_served.h). What is kept is an object that stands for the request; drain() asks it
 * for its name.
 *
 * A look calls no Python, and takes the request for it back before anything else may run: whatever ran in between would
 * be what the next look finds, and be charged with all the time that passed before.
 *
 * The mutex is held for short moments and never while waiting for the lock; the lock may be held while taking it.
 * Whoever holds the mutex runs no Python code and allocates nothing that the collector tracks.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h> /* defines _GNU_SOURCE */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "_compat.h"
#include "_native_ask.h"
#include "_native_fold.h"
#include "_native_frames.h"
#include "_native_served.h"
#include "_native_store.h"
#include "_native_waits.h"

#ifndef __linux__
#error "only Linux has CPU clocks by kernel thread id"
#endif
#ifdef Py_GIL_DISABLED
#error "the sampler rests on the interpreter's lock"
#endif

#define SECOND 1000000000LL
/* Between two looks that may have to force somebody to let go of the lock. */
#define LOOK_PERIOD (5 * SECOND / 1000)
#define BREATH (3 * SECOND / 10000)
/* A main thread that has not answered for so long is in a C function, or has our signal blocked. */
#define PATIENCE (10 * SECOND / 1000)
/* One that lets nobody in for so long is remembered for those who want to know what blocks. */
#define LONG (50 * SECOND / 1000)
/* Threads that nothing else would tell of (a C thread that comes to Python later) are looked for so often. */
#define RESCAN (SECOND / 10)
#define NEWBORN_LOOKS 20
#define MANY_THREADS 100
#define MAX_RAW 20000
#define RAW_UNIT (SECOND / 1000) /* PUB carries at most 1000 samples a second */

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

static struct {
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
} S = {.mutex = PTHREAD_MUTEX_INITIALIZER, .main_state_file = -1, .threads_file = -1};

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        return -1;
    }
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

/* A thread's CPU clock is numbered after the kernel's id of it (CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED of
 * linux/posix-timers.h): that of a dead thread merely fails. */
#if PY_VERSION_HEX >= 0x030B0000 && defined(PY_HAVE_THREAD_NATIVE_ID)
static clockid_t clock_of_tid(pid_t tid)
{
    return (clockid_t)((~(unsigned int)tid << 3) | 6u);
}
#endif

static pid_t tid_of_clock(clockid_t clock)
{
    return (pid_t)~((unsigned int)(clock >> 3));
}

/* -- weights; with lock and mutex */

static void put_raw(Slot *slot, Stack *stack, PyObject *request, Weight weight)
{
    if (!S.raw) {
        return;
    }
    slot->raw_ns += S.raw_cpu ? weight.cpu_ns : weight.wall_ns;
    int64_t worth = S.interval > RAW_UNIT ? S.interval : RAW_UNIT;
    if (slot->raw_ns < worth - S.interval / 2) {
        return; /* at a shorter interval than PUB carries: thinned here already */
    }
    if (S.n_raws < MAX_RAW) {
        Py_XINCREF(request);
        S.raws[S.n_raws++] = (Raw){(double)read_clock(CLOCK_REALTIME) / 1e6, stack, request, slot->raw_ns};
    }
    slot->raw_ns = 0;
}

static void flush_idle(Slot *slot)
{
    if (slot->idle_count != 0) {
        Weight weight = {slot->idle_ns, 0};
        if (slot->last == NULL || store_add(&S.store, slot->last, slot->request, weight, slot->idle_count) < 0) {
            S.lost_ns += slot->idle_ns;
        }
        else {
            put_raw(slot, slot->last, slot->request, weight);
        }
        slot->idle_ns = 0;
        slot->idle_count = 0;
    }
}

static void remember_held(int64_t began, int64_t ended, Stack *stack, PyObject *request)
{
    Held before = S.held;
    Py_XINCREF(stack);
    Py_XINCREF(request);
    S.held = (Held){began, ended, stack, request};
    Py_XDECREF(before.stack);
    Py_XDECREF(before.request);
}

/* Weighs a slot with the stack and the request that were found; takes the mutex. ``cpu``: -1 if it cannot be told. */
static void put_sample(Slot *slot, const Frame *frames, int depth, PyObject *request, int64_t now, int64_t cpu, Way way)
{
    if (depth > 1 && frames[0].code == S.skipped) {
        frames++;
        depth--;
    }
    pthread_mutex_lock(&S.mutex);
    flush_idle(slot);
    int64_t used = cpu > slot->cpu_seen ? cpu - slot->cpu_seen : 0; /* a reading may be a little older than the last */
    Weight weight = {now > slot->wall_seen ? now - slot->wall_seen : 0, 0};
    if (way == WAITS) {
        slot->cpu_owed += used;
    }
    else {
        weight.cpu_ns = slot->cpu_owed + used;
        slot->cpu_owed = 0;
    }
    Stack *stack = store_get(&S.store, slot->ident, frames, depth);
    if (weight.wall_ns > 0 || weight.cpu_ns > 0) {
        if (stack == NULL || store_add(&S.store, stack, request, weight, 1) < 0) {
            S.lost_ns += weight.wall_ns;
        }
        else {
            put_raw(slot, stack, request, weight);
        }
    }
    slot->last = stack;
    PyObject *before = slot->request;
    if (before != request) {
        Py_XINCREF(request);
        slot->request = request;
    }
    int64_t began = slot->wall_seen;
    slot->wall_seen += weight.wall_ns;
    slot->cpu_seen += used;
    slot->rested = way != WORKS && cpu >= 0;
    pthread_mutex_unlock(&S.mutex);
    if (before != request) {
        Py_XDECREF(before);
    }
    if (slot == &S.main && weight.wall_ns >= LONG) {
        remember_held(began, now, stack, request);
    }
}

/* Whether the thread has not run since a look that found it at rest; if so, its time is accounted for. Mutex only. */
static int at_rest(Slot *slot, int64_t now, int64_t cpu)
{
    if (!slot->rested || cpu != slot->cpu_seen) {
        return 0;
    }
    if (now > slot->wall_seen) {
        slot->idle_ns += now - slot->wall_seen;
        slot->idle_count++;
        slot->wall_seen = now;
    }
    return 1;
}

/* -- requests; with the lock, without the mutex */

static Marker new_marker(void)
{
    return (Marker){.code = S.marker, .servers = V.codes, .n_servers = V.n, .filter = V.filter};
}

/* The request of what a walk has found; NULL: none. Borrowed: it stays until the next one is asked for. The thread is that
 * of the stack; NULL where all its frames have objects. */
static PyObject *request_of(PyThreadState *tstate, const Marker *found)
{
    if (!found->marked) {
        return found->server != 0 ? streamed(tstate, found) : NULL;
    }
    PyObject *request = NULL;
    if (found->frame != NULL && S.tracked != NULL) {
        PyObject *identity = PyLong_FromVoidPtr(found->frame);
        request = identity != NULL ? PyDict_GetItemWithError(S.tracked, identity) : NULL;
        Py_XDECREF(identity);
        if (request == NULL) {
            PyErr_Clear();
        }
    }
    return request;
}

/* -- the main thread looks at itself */

static void look_at_self(void)
{
    if (S.state != ON) {
        return;
    }
    int64_t began = read_clock(CLOCK_MONOTONIC);
    Frame frames[MAX_DEPTH];
    Marker marker = new_marker();
    PyThreadState *self = PyThreadState_Get();
    int collecting = PyGC_Disable(); /* both make objects, and a collection would run Python */
    int depth = walk(self, frames, &marker);
    PyObject *request = request_of(self, &marker);
    if (collecting) {
        PyGC_Enable();
    }
    int64_t now = read_clock(CLOCK_MONOTONIC);
    pthread_mutex_lock(&S.mutex);
    /* The ticker has just read it, and this costs a system call. */
    int64_t cpu = S.pending && now - S.pending_since < S.interval / 2 ? S.asked_cpu
                                                                      : read_clock(CLOCK_THREAD_CPUTIME_ID);
    S.pending = 0;
    S.answered++;
    S.respite = marker.depth > DEEP ? now + (int64_t)marker.depth * NANOSECONDS_A_FRAME : 0;
    pthread_mutex_unlock(&S.mutex);
    put_sample(&S.main, frames, depth, request, now, cpu, WORKS);
    S.on_behalf_ns += read_clock(CLOCK_MONOTONIC) - began;
}

/* -- collections; with the lock, in the thread that collects
 *
 * The collector has no frame: its time would stand under whatever ran next, mostly somebody's function that is called at
 * its end. It gets a frame of its own, called by the function that made the object too many. Looks that are answered
 * meanwhile, in a finalizer, have their own time.
 */

static Slot *known_slot(unsigned long ident)
{
    if (ident == S.main.ident) {
        return &S.main;
    }
    for (size_t i = 0; i < S.n_others; i++) {
        if (S.others[i].ident == ident) {
            return &S.others[i];
        }
    }
    return NULL;
}

static void put_collection(Slot *slot, const Frame *frames, int depth, PyObject *request, int64_t now, int64_t cpu)
{
    pthread_mutex_lock(&S.mutex);
    int64_t began = S.collects_since > slot->wall_seen ? S.collects_since : slot->wall_seen;
    int64_t used = S.collects_cpu > slot->cpu_seen ? S.collects_cpu : slot->cpu_seen;
    Weight weight = {now > began ? now - began : 0, cpu > used ? cpu - used : 0};
    Stack *stack = store_get(&S.store, slot->ident, frames, depth);
    if (stack != NULL && store_add(&S.store, stack, request, weight, 1) == 0) {
        put_raw(slot, stack, request, weight);
        /* The next look weighs so much less. */
        slot->wall_seen += weight.wall_ns;
        slot->cpu_seen += weight.cpu_ns;
        slot->rested = 0;
    }
    pthread_mutex_unlock(&S.mutex);
}

static PyObject *on_collection(PyObject *Py_UNUSED(self), PyObject *arguments)
{
    const char *phase = PyTuple_GET_SIZE(arguments) > 0 && PyUnicode_Check(PyTuple_GET_ITEM(arguments, 0))
                            ? PyUnicode_AsUTF8(PyTuple_GET_ITEM(arguments, 0))
                            : "";
    unsigned long ident = PyThread_get_thread_ident();
    int64_t now = read_clock(CLOCK_MONOTONIC), cpu = read_clock(CLOCK_THREAD_CPUTIME_ID);
    if (phase != NULL && strcmp(phase, "start") == 0) {
        S.collecting = ident;
        S.collects_since = now;
        S.collects_cpu = cpu;
    }
    else if (S.state == ON && S.collecting == ident) {
        Slot *slot = known_slot(ident);
        if (slot != NULL) {
            Frame frames[MAX_DEPTH + 1];
            Marker marker = new_marker();
            frames[0] = (Frame){S.collector, 0};
            PyThreadState *self = PyThreadState_Get();
            int depth = walk(self, frames + 1, &marker) + 1;
            if (depth > MAX_DEPTH) { /* the outermost frames tell more than one in between */
                memmove(frames + 1, frames + 2, (size_t)(--depth - 1) * sizeof *frames);
            }
            put_collection(slot, frames, depth, request_of(self, &marker), now, cpu);
        }
        S.collecting = 0;
        S.on_behalf_ns += read_clock(CLOCK_MONOTONIC) - now;
    }
    PyErr_Clear();
    Py_RETURN_NONE;
}

#if HAVE_SIGNAL
static PyObject *on_signal(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(arguments))
{
    look_at_self();
    Py_RETURN_NONE;
}

static PyMethodDef on_signal_method = {"rbkit_sampler", on_signal, METH_VARARGS, "Takes a sample."};

/* Whether the signal's Python-level handler is ours; -1 with an exception. Any thread. */
static int handler_is(PyObject *module, PyObject *what)
{
    PyObject *handler = PyObject_CallMethod(module, "getsignal", "i", S.signum);
    if (handler == NULL) {
        return -1;
    }
    int same = what != NULL ? handler == what : (PyLong_Check(handler) && PyLong_AsLong(handler) == 0);
    Py_DECREF(handler);
    return same;
}

static int signal_is_free(PyObject *module, int signum)
{
    struct sigaction action;
    if (sigaction(signum, NULL, &action) != 0 || action.sa_handler != SIG_DFL) {
        return 0;
    }
    S.signum = signum;
    return handler_is(module, NULL);
}

static int set_handler(PyObject *module, PyObject *handler)
{
    PyObject *old = handler != NULL ? PyObject_CallMethod(module, "signal", "iO", S.signum, handler)
                                    : PyObject_CallMethod(module, "signal", "ii", S.signum, 0);
    if (old == NULL) {
        return -1;
    }
    Py_DECREF(old);
    return 0;
}

/* Installs or gives back the handler, as the state wants it. In the main thread, with the lock; a pending call. */
static int settle_signal(void *Py_UNUSED(unused))
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *module = PyImport_ImportModule("_signal"); /* the original, whatever gevent patches */
    if (module != NULL && S.state == ON && !S.attached && S.signum != 0 && S.refusal == NULL) {
        int is_free = signal_is_free(module, S.signum);
        if (is_free == 1 && set_handler(module, S.handler) == 0) {
            S.attached = 1;
            PyObject *done = PyObject_CallMethod(module, "siginterrupt", "ii", S.signum, 0);
            Py_XDECREF(done);
        }
        if (!S.attached) {
            S.refusal = "the signal has been taken by the application";
        }
        pthread_mutex_lock(&S.mutex);
        S.reachable = S.attached;
        pthread_mutex_unlock(&S.mutex);
    }
    else if (module != NULL && S.state == OFF && S.attached) {
        S.attached = 0;
        if (handler_is(module, S.handler) == 1) {
            /* A signal that is still on its way would end the process: ignoring it discards it first. */
            PyObject *old = PyObject_CallMethod(module, "signal", "ii", S.signum, 1);
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

/* A signal that waits when the process becomes another program would end that: its handlers are the default ones. So
 * before an exec none is sent any more and what waits is discarded. (Nothing else tells of one.) */
static int on_audit(const char *event, PyObject *Py_UNUSED(arguments), void *Py_UNUSED(unused))
{
    if (event[0] != 'o' || strcmp(event, "os.exec") != 0 || !S.attached) {
        return 0;
    }
    pthread_mutex_lock(&S.mutex);
    S.reachable = 0;
    pthread_mutex_unlock(&S.mutex);
    S.refusal = "an exec has been tried";
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigaction(S.signum, &action, NULL);
    action.sa_handler = SIG_DFL;
    sigaction(S.signum, &action, NULL);
    return 0;
}

static void have_signal_settled(void)
{
    if (pthread_equal(pthread_self(), S.main_thread)) {
        settle_signal(NULL);
    }
    else {
        /* We hold the lock, and a main thread that gets it looks for pending calls. Should the queue be full, the
         * next start or stop tries again; the handler does no harm in the meantime. */
        Py_AddPendingCall(settle_signal, NULL);
    }
}

/* Whether the application has installed a handler of its own where ours was: the signal is its own from now on. */
static void notice_loss(void)
{
    if (S.state != ON || !S.attached) {
        return;
    }
    PyObject *module = PyImport_ImportModule("_signal");
    int ours = module != NULL ? handler_is(module, S.handler) : -1;
    Py_XDECREF(module);
    PyErr_Clear();
    if (ours == 0) {
        S.attached = 0;
        S.refusal = "the signal has been taken by the application";
        pthread_mutex_lock(&S.mutex);
        S.reachable = 0;
        pthread_mutex_unlock(&S.mutex);
    }
}
#else
static int settle_signal(void *Py_UNUSED(unused)) { return 0; }
static int on_audit(const char *Py_UNUSED(event), PyObject *Py_UNUSED(arguments), void *Py_UNUSED(unused)) { return 0; }
static void have_signal_settled(void) {}
static void notice_loss(void) {}
#endif

static int on_pending(void *Py_UNUSED(unused))
{
    look_at_self();
    return 0;
}

/* -- the ticker */

/* Whether the main thread computes, or would if it had a processor; in doubt it does. ``used`` of the ``passed`` time
 * since the last tick it did. */
static int main_runs(int64_t cpu, int64_t used, int64_t passed)
{
    if (used > passed - passed / 8 || read_clock(S.main.clock) != cpu || S.main_state_file < 0) {
        return 1;
    }
    /* "running", or the number of the system call it waits in. */
    char word[8];
    return pread(S.main_state_file, word, sizeof word, 0) < 1 || word[0] == 'r';
}

static int ask_main(void)
{
    if (S.by_signal) {
        return pthread_kill(S.main_thread, S.signum);
    }
    int failed = Py_AddPendingCall(on_pending, NULL);
    set_breaker(S.interpreter);
    return failed;
}

static void wait_until(pthread_cond_t *condition, int64_t when)
{
    struct timespec until = {.tv_sec = when / SECOND, .tv_nsec = when % SECOND};
    pthread_cond_timedwait(condition, &S.mutex, &until);
}

static void tick(int64_t now, int64_t *last, int64_t *last_cpu)
{
    S.ticks++;
    int64_t cpu = read_clock(S.main.clock), used = cpu - *last_cpu, passed = now - *last;
    *last = now;
    *last_cpu = cpu;
    if (at_rest(&S.main, now, cpu) || now < S.respite) {
        return;
    }
    if (S.pending && !S.by_signal && now - S.broke >= 2 * PATIENCE) {
        /* In case the main thread was just clearing it. Not each tick: the other threads look for nothing as well. */
        S.broke = now;
        set_breaker(S.interpreter);
    }
    int waits = S.pending && used == 0;
    int stuck = !S.reachable || (S.pending && now - S.pending_since > PATIENCE);
    if (S.reachable && !S.pending) {
        pthread_mutex_unlock(&S.mutex);
        int runs = main_runs(cpu, used, passed);
        pthread_mutex_lock(&S.mutex);
        if (runs && !S.stopping && S.reachable) {
            S.pending = 1;
            S.pending_since = S.broke = now;
            S.asked_cpu = cpu;
            S.asked++;
            /* With the mutex: whoever has set ``reachable`` to 0 relies on no signal coming any more. */
            if (ask_main() != 0) {
                S.pending = 0;
            }
            return;
        }
        waits = 1;
    }
    if (waits || (stuck && now - S.main_looked >= LOOK_PERIOD)) {
        S.look_at_main = 1 + (waits ? WAITS : SEEN);
        pthread_cond_signal(&S.look);
    }
}

static void *ticker_main(void *Py_UNUSED(unused))
{
    prctl(PR_SET_NAME, "rbkit-ticker");
    prctl(PR_SET_TIMERSLACK, 1UL); /* 50 us otherwise: half of the shortest interval */
    pthread_mutex_lock(&S.mutex);
    int64_t next = read_clock(CLOCK_MONOTONIC), last = next, last_cpu = read_clock(S.main.clock);
    while (!S.stopping) {
        int64_t now = read_clock(CLOCK_MONOTONIC);
        if (next > now + S.interval) {
            next = now + S.interval; /* it has become shorter */
        }
        if (now < next) {
            wait_until(&S.tick, next);
            continue;
        }
        next += S.interval;
        if (next <= now) {
            next = now + S.interval; /* ticks that were missed are not made up for: the weights are right */
        }
        tick(now, &last, &last_cpu);
    }
    S.own_ns += read_clock(CLOCK_THREAD_CPUTIME_ID);
    pthread_mutex_unlock(&S.mutex);
    return NULL;
}

/* -- the looker */

/* Something that changes when a thread is born or dies; 0 when that cannot be told. A count would not do: one thread may
 * go while another comes. */
static uint64_t fingerprint(void)
{
    struct entry { /* linux_dirent64, getdents(2) */
        uint64_t number;
        int64_t offset;
        unsigned short size;
        unsigned char type;
        char name[];
    };
    _Alignas(struct entry) char buffer[4096];
    uint64_t sum = 0;
    long filled;
    struct stat facts;
    if (S.threads_file < 0 || fstat(S.threads_file, &facts) != 0) {
        return 0;
    }
    if (facts.st_nlink > MANY_THREADS) {
        return facts.st_nlink; /* reading names would cost a millisecond */
    }
    if (lseek(S.threads_file, 0, SEEK_SET) != 0) {
        return 0;
    }
    while ((filled = syscall(SYS_getdents64, S.threads_file, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < filled; at += ((struct entry *)(buffer + at))->size) {
            uint64_t name = strtoul(((struct entry *)(buffer + at))->name, NULL, 10) + 1;
            sum += name * name * 0x9E3779B97F4A7C15u;
        }
    }
    return filled < 0 ? 0 : sum;
}

/* Accounts for the threads at rest, without the lock. Whether somebody has run, was born or has died. */
static int others_moved(int64_t now)
{
    uint64_t threads = fingerprint();
    int moved = threads == 0 || threads != S.threads || S.newborn > 0 || now - S.scanned >= RESCAN;
    for (size_t i = 0; i < S.n_others; i++) {
        int64_t cpu = read_clock(S.others[i].clock);
        pthread_mutex_lock(&S.mutex);
        moved |= !at_rest(&S.others[i], now, cpu);
        pthread_mutex_unlock(&S.mutex);
    }
    if (!moved) {
        S.checked = now;
    }
    return moved;
}

static int clock_of(PyThreadState *tstate, clockid_t *clock)
{
#if PY_VERSION_HEX >= 0x030B0000 && defined(PY_HAVE_THREAD_NATIVE_ID)
    *clock = clock_of_tid((pid_t)tstate->native_thread_id);
    return 0;
#else
    /* Undefined for a dead thread. This one has frames and we hold the lock, so it is alive. */
    return pthread_getcpuclockid((pthread_t)tstate->thread_id, clock);
#endif
}

/* A thread is seen for the first time: it began after the last look at the list of threads. */
static void begin_slot(Slot *slot, unsigned long ident, clockid_t clock, int64_t now)
{
    *slot = (Slot){.ident = ident, .clock = clock, .wall_seen = S.checked, .request = slot->request};
    int64_t used = read_clock(clock);
    slot->cpu_seen = used > now - S.checked ? used - (now - S.checked) : 0;
}

/* The slot of a thread, made if there is none; NULL without memory. ``hint``: behind the last one found. */
static Slot *slot_of(PyThreadState *tstate, size_t *hint, int64_t now)
{
    Slot *slot = NULL;
    clockid_t clock;
    if (clock_of(tstate, &clock) != 0) {
        return NULL;
    }
    for (size_t i = 0; slot == NULL && i < S.n_others; i++) {
        size_t at = (*hint + i) % S.n_others;
        if (S.others[at].ident == tstate->thread_id) {
            *hint = at + 1;
            slot = &S.others[at];
        }
    }
    if (slot != NULL && slot->clock == clock) {
        return slot;
    }
    pthread_mutex_lock(&S.mutex);
    if (slot != NULL) {
        flush_idle(slot); /* the identity is another thread's now */
    }
    else if (S.n_others == S.room_others) {
        size_t room = S.room_others ? S.room_others * 2 : 32;
        Slot *others = realloc(S.others, room * sizeof *others);
        if (others != NULL) {
            S.others = others;
            S.room_others = room;
        }
    }
    if (slot == NULL && S.n_others < S.room_others) {
        slot = &S.others[S.n_others++];
        slot->request = NULL;
    }
    if (slot != NULL) {
        begin_slot(slot, tstate->thread_id, clock, now);
    }
    pthread_mutex_unlock(&S.mutex);
    return slot;
}

static int is_own(unsigned long ident)
{
    PyObject *number = PyLong_FromUnsignedLong(ident);
    int own = number != NULL ? PySet_Contains(S.own, number) : -1;
    Py_XDECREF(number);
    if (own < 0) {
        PyErr_Clear();
    }
    return own != 0;
}

/* The slots of dead threads go; what they referred to goes without the mutex. */
static void drop_unseen(void)
{
    size_t kept = 0, before = S.n_others;
    pthread_mutex_lock(&S.mutex);
    for (size_t i = 0; i < before; i++) {
        if (S.others[i].seen == S.generation) {
            Slot slot = S.others[kept];
            S.others[kept++] = S.others[i];
            S.others[i] = slot;
        }
    }
    for (size_t i = kept; i < before; i++) {
        flush_idle(&S.others[i]);
    }
    S.n_others = kept;
    pthread_mutex_unlock(&S.mutex);
    for (size_t i = kept; i < before; i++) {
        Py_CLEAR(S.others[i].request);
    }
}

/* Looks at one thread; with the lock. 0 when it has no frame. */
static int look_at(PyThreadState *tstate, int64_t now, size_t *hint, int baseline, Way way)
{
    Frame frames[MAX_DEPTH];
    Marker marker = new_marker();
    int depth = walk(tstate, frames, &marker);
    if (depth == 0) {
        return 0;
    }
    S.deep += marker.depth > DEEP ? marker.depth : 0;
    Slot *slot = tstate->thread_id == S.main.ident ? &S.main : slot_of(tstate, hint, now);
    if (slot == NULL) {
        return 1;
    }
    slot->seen = S.generation;
    int64_t cpu = read_clock(slot->clock);
    pthread_mutex_lock(&S.mutex);
    int rests = at_rest(slot, now, cpu);
    if (baseline) {
        slot->wall_seen = now;
        slot->cpu_seen = cpu;
    }
    /* The main thread may just have looked at itself. */
    int fresh = slot == &S.main && now - slot->wall_seen < S.interval / 2 && !baseline;
    pthread_mutex_unlock(&S.mutex);
    if (!rests && !fresh) {
        put_sample(slot, frames, depth, request_of(tstate, &marker), now, cpu, way);
    }
    return 1;
}

/* Looks at all threads that have run; with the lock. ``baseline``: at the start, what they used before is not ours. */
static void look(int baseline)
{
    static int looking = 0; /* under the lock, which the end of somebody's request may have let go */
    if (looking) {
        return;
    }
    looking = 1;
    /* Looks make objects. No collection shall run the application's finalizers in this thread. */
    int collecting = PyGC_Disable();
    pthread_mutex_lock(&S.mutex);
    S.looks++;
    int at_main = S.look_at_main;
    S.look_at_main = 0;
    S.main_looked = at_main ? read_clock(CLOCK_MONOTONIC) : S.main_looked;
    pthread_mutex_unlock(&S.mutex);
    PyThreadState *self = PyThreadState_Get();
    int64_t now = read_clock(CLOCK_MONOTONIC);
    size_t hint = 0;
    uint64_t frameless = 0;
    S.deep = 0;
    S.threads = fingerprint();
    S.generation++;
    for (PyThreadState *tstate = PyInterpreterState_ThreadHead(S.interpreter); tstate != NULL;
         tstate = PyThreadState_Next(tstate)) {
        unsigned long ident = tstate->thread_id;
        int is_main = ident == S.main.ident;
        if (tstate == self || tstate == S.looker_state || ident == 0 || (is_main && !at_main) || is_own(ident)) {
            continue;
        }
        if (!look_at(tstate, now, &hint, baseline, is_main ? (Way)(at_main - 1) : SEEN)) {
            /* Has not begun yet, or has left Python: a sum over them tells whether they are the same as last time. */
            frameless += PyThreadState_GetID(tstate) * 0x9E3779B97F4A7C15u;
        }
    }
    drop_unseen();
    S.newborn = frameless == 0 ? 0 : frameless != S.frameless ? NEWBORN_LOOKS : S.newborn - (S.newborn > 0);
    S.frameless = frameless;
    S.checked = S.scanned = now;
    if (collecting) {
        PyGC_Enable();
    }
    looking = 0;
}

static void *looker_main(void *Py_UNUSED(unused))
{
    prctl(PR_SET_NAME, "rbkit-looker");
    PyGILState_STATE gil = PyGILState_Ensure(); /* makes a thread state, kept until the end */
    S.looker_state = PyThreadState_Get();
    PyThreadState *tstate = PyEval_SaveThread();
    int64_t next = read_clock(CLOCK_MONOTONIC);
    pthread_mutex_lock(&S.mutex);
    while (!S.stopping) {
        int64_t now = read_clock(CLOCK_MONOTONIC);
        if (!S.look_at_main && now < next) {
            wait_until(&S.look, next);
            continue;
        }
        int wanted = S.look_at_main;
        int64_t period = S.interval > LOOK_PERIOD ? S.interval : LOOK_PERIOD;
        period += (int64_t)S.n_others * 20000; /* a thousand threads' clocks take a millisecond to read */
        pthread_mutex_unlock(&S.mutex);
        if (now >= next) {
            next = now + period;
            wanted |= others_moved(now);
        }
        if (wanted) {
            __atomic_store_n(&S.waits_for_lock, 1, __ATOMIC_RELAXED);
            PyEval_RestoreThread(tstate);
            __atomic_store_n(&S.waits_for_lock, 0, __ATOMIC_RELAXED);
            if (S.state == ON) {
                look(0);
            }
            tstate = PyEval_SaveThread();
            /* Whoever wants the lock before the other has it back waits for two switch intervals, not one. */
            int64_t then = read_clock(CLOCK_MONOTONIC) + BREATH + S.deep * NANOSECONDS_A_FRAME;
            next = next > then ? next : then;
        }
        pthread_mutex_lock(&S.mutex);
    }
    S.own_ns += read_clock(CLOCK_THREAD_CPUTIME_ID);
    pthread_mutex_unlock(&S.mutex);
    PyEval_RestoreThread(tstate);
    S.looker_state = NULL;
    PyGILState_Release(gil);
    return NULL;
}

/* -- start and stop; with the lock */

static void close_files(void)
{
    if (S.main_state_file >= 0) {
        close(S.main_state_file);
    }
    if (S.threads_file >= 0) {
        close(S.threads_file);
    }
    S.main_state_file = S.threads_file = -1;
}

static void open_files(pid_t main_tid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)main_tid);
    S.main_state_file = open(path, O_RDONLY | O_CLOEXEC);
    S.threads_file = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void reset_threads(void)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&S.mutex, NULL);
    pthread_cond_init(&S.tick, &attributes);
    pthread_cond_init(&S.look, &attributes);
    pthread_condattr_destroy(&attributes);
    S.stopping = S.pending = S.look_at_main = 0;
}

/* In a forked child that ran no hook of ours: nothing of us is alive. */
static void in_child(void)
{
    S.state = OFF;
    S.looker_state = NULL;
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
    int failed = pthread_create(&S.ticker, &attributes, ticker_main, NULL);
    if (!failed) {
        failed = pthread_create(&S.looker, &attributes, looker_main, NULL);
        if (failed) {
            pthread_mutex_lock(&S.mutex);
            S.stopping = 1;
            pthread_cond_signal(&S.tick);
            pthread_mutex_unlock(&S.mutex);
            pthread_join(S.ticker, NULL);
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed;
}

/* After the threads have ended: all that is left of the run is in the store. */
static void end_slots(void)
{
    size_t n = S.n_others;
    pthread_mutex_lock(&S.mutex);
    flush_idle(&S.main);
    for (size_t i = 0; i < n; i++) {
        flush_idle(&S.others[i]);
    }
    S.n_others = 0;
    pthread_mutex_unlock(&S.mutex);
    Py_CLEAR(S.main.request);
    for (size_t i = 0; i < n; i++) {
        Py_CLEAR(S.others[i].request);
    }
}

static void drop_raws(void)
{
    remember_held(0, 0, NULL, NULL);
    while (S.n_raws > 0) {
        Py_XDECREF(S.raws[--S.n_raws].request);
    }
}

static PyObject *native_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    while (S.state == ENDING) { /* another thread ends it: at exit both the server and atexit do */
        Py_BEGIN_ALLOW_THREADS
        usleep(1000);
        Py_END_ALLOW_THREADS
    }
    if (S.state == ON) {
        S.state = ENDING;
        pthread_mutex_lock(&S.mutex);
        S.stopping = 1;
        pthread_cond_signal(&S.tick);
        pthread_cond_signal(&S.look);
        pthread_mutex_unlock(&S.mutex);
        Py_BEGIN_ALLOW_THREADS
        pthread_join(S.ticker, NULL);
        pthread_join(S.looker, NULL);
        Py_END_ALLOW_THREADS
        end_slots();
        S.state = OFF;
        close_files();
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

/* Finds a free signal or says why it cannot be used; only where it is needed. */
static int choose_signal(int signum)
{
    S.refusal = NULL;
    S.reachable = !S.by_signal;
#if HAVE_SIGNAL
    if (!S.by_signal) {
        return 0;
    }
    if (signum == 0) {
        S.refusal = "no signal may be used";
    }
    else if (!S.attached || signum != S.signum) {
        PyObject *module = PyImport_ImportModule("_signal");
        int is_free = module != NULL ? signal_is_free(module, signum) : -1;
        Py_XDECREF(module);
        if (is_free < 0) {
            return -1;
        }
        S.refusal = is_free ? NULL : "the signal is in use by the application";
    }
    S.reachable = S.attached && S.refusal == NULL;
#else
    (void)signum;
#endif
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
    if (S.state != OFF) {
        PyErr_SetString(PyExc_RuntimeError, "another native sampler runs in this process");
        return NULL;
    }
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_RuntimeError, "this is a sub-interpreter");
        return NULL;
    }
    if (interval < 1000 || signum < 0 || signum > SIGRTMAX) {
        PyErr_SetString(PyExc_ValueError, "interval or signal number out of range");
        return NULL;
    }
    S.main_thread = (pthread_t)main_ident;
    clockid_t main_clock;
    if (pthread_getcpuclockid(S.main_thread, &main_clock) != 0) {
        PyErr_SetString(PyExc_RuntimeError, "the main thread has no CPU clock");
        return NULL;
    }
#if HAVE_SIGNAL
    if (S.by_signal && S.attached && signum != S.signum) {
        PyErr_SetString(PyExc_RuntimeError, "the signal used before has not been given back yet");
        return NULL;
    }
    if (S.handler == NULL && (S.handler = PyCFunction_New(&on_signal_method, NULL)) == NULL) {
        return NULL;
    }
#endif
    if (S.raws == NULL && (S.raws = malloc(MAX_RAW * sizeof *S.raws)) == NULL) {
        return PyErr_NoMemory();
    }
    if (install_hooks() < 0 || choose_signal(signum) < 0) {
        return NULL;
    }
    reset_threads();
    S.interpreter = PyInterpreterState_Get();
    Py_INCREF(own);
    Py_XSETREF(S.own, own);
    Py_INCREF(skipped);
    Py_XSETREF(S.skipped, skipped);
    S.collecting = 0;
    S.interval = interval;
    S.signum = signum;
    int64_t now = read_clock(CLOCK_MONOTONIC);
    drop_raws();
    S.main = (Slot){.ident = main_ident, .clock = main_clock, .wall_seen = now};
    S.main.cpu_seen = read_clock(S.main.clock);
    S.lost_ns = 0;
    S.respite = 0;
    S.ticks = S.asked = S.answered = S.looks = 0;
    S.main_looked = 0;
    S.checked = S.scanned = now;
    open_files(tid_of_clock(main_clock));
    look(1);
    int failed = start_threads();
    if (failed) {
        close_files();
        PyErr_Format(PyExc_RuntimeError, "its threads cannot be started: %s", strerror(failed));
        return NULL;
    }
    S.state = ON;
    if (S.by_signal && S.refusal == NULL) {
        have_signal_settled();
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(catch_up_doc,
"catch_up()\n--\n\n"
"Takes the look for which the looker waits for the interpreter's lock, if it does: whoever of our threads is let in\n"
"first looks, since the application goes on between one of them and the next.");

static PyObject *native_catch_up(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (S.state == ON && __atomic_load_n(&S.waits_for_lock, __ATOMIC_RELAXED)) {
        look(0);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(held_doc,
"held()\n--\n\n"
"When the main thread has last let nobody look at it for long, and where that was: ``(began, ended, stack, request)``,\n"
"seconds of the monotonic clock, the request or None; None if it never has.");

static PyObject *native_held(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (S.held.stack == NULL) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("ddOO", (double)S.held.began / SECOND, (double)S.held.ended / SECOND, S.held.stack,
                         S.held.request != NULL ? S.held.request : Py_None);
}

PyDoc_STRVAR(forget_doc,
"forget()\n--\n\n"
"In a forked child, in the thread that forked: nothing of the parent's sampler goes on here; the signal is given back.");

static PyObject *native_forget(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    in_child();
    W.on = 0;
    forget_parked();
    close_files();
    end_slots();
    drop_raws();
    forget_served();
    S.main_thread = pthread_self();
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
    pthread_mutex_lock(&S.mutex);
    S.interval = interval;
    if (S.state == ON) {
        pthread_cond_signal(&S.tick);
        pthread_cond_signal(&S.look);
    }
    pthread_mutex_unlock(&S.mutex);
    Py_RETURN_NONE;
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
    pthread_mutex_lock(&S.mutex);
    S.raw = raw && S.raws != NULL;
    S.raw_cpu = cpu_clock;
    size_t n = raw ? 0 : S.n_raws;
    Raw *unwanted = n != 0 ? malloc(n * sizeof *unwanted) : NULL;
    if (unwanted != NULL) { /* else they are handed out with the next drain */
        memcpy(unwanted, S.raws, n * sizeof *unwanted);
        S.n_raws = 0;
    }
    pthread_mutex_unlock(&S.mutex);
    for (size_t i = 0; unwanted != NULL && i < n; i++) {
        Py_XDECREF(unwanted[i].request);
    }
    free(unwanted);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_marker_doc,
"set_marker(code, tracked)\n--\n\n"
"Has samples tell their request: that of the outermost frame which runs ``code``. With None there are none.\n\n"
"Args:\n"
"    code: a code object.\n"
"    tracked: the object that stands for a request, by the ``id()`` of its frame; it has an attribute ``name``.");

static PyObject *native_set_marker(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *code, *tracked;
    if (!PyArg_ParseTuple(arguments, "OO!", &code, &PyDict_Type, &tracked)) {
        return NULL;
    }
    if (code != Py_None && !PyCode_Check(code)) {
        PyErr_SetString(PyExc_TypeError, "the marker is a code object or None");
        return NULL;
    }
    if (code == Py_None) {
        code = tracked = NULL;
    }
    Py_XINCREF(code);
    Py_XINCREF(tracked);
    Py_XSETREF(S.marker, code);
    Py_XSETREF(S.tracked, tracked);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_servers_doc,
"set_servers(functions, keys, kind)\n--\n\n"
"Has samples tell the request whose body a web server's function sends, where no marker is on the stack.\n\n"
"Args:\n"
"    functions: for each its code, where its variable has the request's environ, and where it has the body: a name and\n"
"        that of an attribute, or \"\", each.\n"
"    keys: of the environ: what is kept of a request.\n"
"    kind: a subclass of tuple that adds nothing but an attribute ``name``, and makes that of these values; None where\n"
"        there is no text.");

static PyObject *native_set_servers(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *functions, *keys, *kind;
    if (!PyArg_ParseTuple(arguments, "O!O!O!", &PyTuple_Type, &functions, &PyTuple_Type, &keys, &PyType_Type, &kind) ||
        set_served(functions, keys, kind) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- drain */

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
    pthread_mutex_lock(&S.mutex);
    if (S.store.used > MAX_STACKS / 2) {
        for (size_t i = 0; i <= S.store.mask; i++) {
            if (S.store.slots[i] != NULL) {
                S.store.slots[i]->kept = Py_REFCNT(S.store.slots[i]) > 1 && S.store.used <= MAX_STACKS * 3 / 4;
            }
        }
        if (S.main.last != NULL) {
            S.main.last->kept = 1;
        }
        for (size_t i = 0; i < S.n_others; i++) {
            if (S.others[i].last != NULL) {
                S.others[i].last->kept = 1;
            }
        }
        for (size_t i = 0; i < S.n_raws; i++) {
            S.raws[i].stack->kept = 1;
        }
        n_gone = store_evict(&S.store, &gone);
    }
    pthread_mutex_unlock(&S.mutex);
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

static PyObject *totals_list(const Sum *sums, size_t n, PyObject *waiting)
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
        PyObject *item =
            Py_BuildValue("OOLLlO", (PyObject *)totals[i].stack, totals[i].name,
                          (long long)(totals[i].weight.wall_ns / 1000), (long long)(totals[i].weight.cpu_ns / 1000),
                          totals[i].count, waiting);
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
        PyObject *item = Py_BuildValue("dOOd", raws[i].milliseconds, (PyObject *)raws[i].stack,
                                       raws[i].request != NULL ? raws[i].request : Py_None,
                                       (double)raws[i].weight_ns / 1000.0);
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
    pthread_mutex_lock(&S.mutex);
    flush_idle(&S.main);
    for (size_t i = 0; i < S.n_others; i++) {
        flush_idle(&S.others[i]);
    }
    if (S.n_raws != 0) {
        raws = malloc(S.n_raws * sizeof *raws);
        failed = raws == NULL;
    }
    if (!failed) {
        sums = S.store.sums;
        n_sums = S.store.n_sums;
        S.store.sums = NULL;
        S.store.n_sums = S.store.room_sums = 0;
        for (size_t i = 0; i < n_sums; i++) {
            sums[i].stack->sums = 0;
            Py_INCREF(sums[i].stack);
        }
        n_raws = S.n_raws;
        S.n_raws = 0;
        for (size_t i = 0; i < n_raws; i++) {
            raws[i] = S.raws[i];
            Py_INCREF(raws[i].stack);
        }
        lost = S.lost_ns / 1000;
        S.lost_ns %= 1000;
    }
    pthread_mutex_unlock(&S.mutex);
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

/* -- waits */

static PyObject *on_switch(PyObject *Py_UNUSED(self), PyObject *arguments)
{
    PyObject *pair = PyTuple_GET_SIZE(arguments) == 2 ? PyTuple_GET_ITEM(arguments, 1) : NULL;
    if (W.on && pair != NULL && PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2) {
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        int collecting = PyGC_Disable(); /* the walk makes objects, and a collection would run Python */
        int64_t now = waits_now();
        resume(PyTuple_GET_ITEM(pair, 1), now);
        park(PyTuple_GET_ITEM(pair, 0), now, new_marker(), request_of);
        S.on_behalf_ns += waits_now() - now;
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
    W.on = 0;
    forget_parked();
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
    int64_t now = waits_now();
    int collecting = PyGC_Disable(); /* as above */
    for (Py_ssize_t i = 0; W.on && i < PyList_GET_SIZE(greenlets); i++) {
        PyObject *greenlet = PyList_GET_ITEM(greenlets, i);
        if (W.parked == NULL || parked_at(greenlet)->greenlet == NULL) {
            park(greenlet, now, new_marker(), request_of);
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

PyDoc_STRVAR(stack_doc,
"stack(thread, frames)\n--\n\n"
"A stack for fold() from what somebody else has seen: code object, ``f_lasti``, code object, ... innermost first; the\n"
"innermost 257 frames of more.\n\n"
"Raises:\n"
"    TypeError, OverflowError: something else is in there.");

static PyObject *native_stack(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    unsigned long thread;
    PyObject *parts;
    if (!PyArg_ParseTuple(arguments, "kO!", &thread, &PyTuple_Type, &parts)) {
        return NULL;
    }
    Frame frames[MAX_DEPTH];
    int depth = 0;
    for (Py_ssize_t i = 0, size = PyTuple_GET_SIZE(parts); i < size && depth < MAX_DEPTH; i += 2) {
        PyObject *code = PyTuple_GET_ITEM(parts, i), *lasti = i + 1 < size ? PyTuple_GET_ITEM(parts, i + 1) : NULL;
        if (!PyCode_Check(code) || lasti == NULL || !PyLong_CheckExact(lasti)) {
            PyErr_SetString(PyExc_TypeError, "frames are a code object and a number each");
            return NULL;
        }
        frames[depth].code = code;
        frames[depth++].lasti = PyLong_AsSsize_t(lasti);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    Stack *stack = stack_new(thread, frames, depth);
    return stack != NULL ? (PyObject *)stack : PyErr_NoMemory();
}

PyDoc_STRVAR(on_collection_doc,
"on_collection(phase, info)\n--\n\n"
"For ``gc.callbacks``, the first of them: charges a collection to a frame of its own.");

PyDoc_STRVAR(cost_doc,
"cost()\n--\n\n"
"Microseconds of CPU time that the sampler's own threads have used so far, and that it has cost the application's.");

static PyObject *native_cost(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    int64_t own = S.own_ns;
    clockid_t clock;
    if (S.state == ON) {
        own += pthread_getcpuclockid(S.ticker, &clock) == 0 ? read_clock(clock) : 0;
        own += pthread_getcpuclockid(S.looker, &clock) == 0 ? read_clock(clock) : 0;
    }
    return Py_BuildValue("LL", (long long)(own / 1000), (long long)(S.on_behalf_ns / 1000));
}

PyDoc_STRVAR(status_doc,
"status()\n--\n\n"
"A map: ``running``, ``reach`` (how the main thread is asked: \"signal\", \"pending call\" or \"\"), ``refusal`` (why\n"
"not, or None), ``attached`` (the signal's handler is ours), ``walk`` (\"internal\" or \"public\"), and counts since the\n"
"start: ``ticks``, ``asked``, ``answered``, ``looks``; ``stacks`` kept now, ``threads`` known besides the main one.");

static PyObject *native_status(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return Py_BuildValue("{s:O,s:s,s:z,s:O,s:s,s:l,s:l,s:l,s:l,s:n,s:n}", "running", S.state == ON ? Py_True : Py_False,
                         "reach", S.state == ON && S.reachable ? (S.by_signal ? "signal" : "pending call") : "",
                         "refusal", S.refusal, "attached", S.attached ? Py_True : Py_False, "walk",
                         internal_walk ? "internal" : "public", "ticks", S.ticks, "asked", S.asked, "answered",
                         S.answered, "looks", S.looks, "stacks", (Py_ssize_t)S.store.used, "threads",
                         (Py_ssize_t)S.n_others);
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
    if (S.state != OFF || S.attached) {
        PyErr_SetString(PyExc_RuntimeError, "the sampler runs");
        return NULL;
    }
    S.by_signal = HAVE_SIGNAL && (wanted || !breaker_is_known());
    return PyBool_FromLong(S.by_signal);
}

PyDoc_STRVAR(needs_signal_doc, "needs_signal()\n--\n\nWhether the main thread is asked with a signal.");

static PyObject *native_needs_signal(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(S.by_signal);
}

static PyMethodDef methods[] = {
    {"start", native_start, METH_VARARGS, start_doc},
    {"stop", native_stop, METH_NOARGS, "stop()\n--\n\nEnds both threads; what waits may still be drained."},
    {"forget", native_forget, METH_NOARGS, forget_doc},
    {"set_interval", native_set_interval, METH_O, "set_interval(interval_ns)\n--\n\nAlso while it runs."},
    {"set_marker", native_set_marker, METH_VARARGS, set_marker_doc},
    {"set_servers", native_set_servers, METH_VARARGS, set_servers_doc},
    {"set_raw", native_set_raw, METH_VARARGS, set_raw_doc},
    {"drain", native_drain, METH_NOARGS, drain_doc},
    {"catch_up", native_catch_up, METH_NOARGS, catch_up_doc},
    {"held", native_held, METH_NOARGS, held_doc},
    {"on_collection", on_collection, METH_VARARGS, on_collection_doc},
    {"cost", native_cost, METH_NOARGS, cost_doc},
    {"waits_start", native_waits_start, METH_VARARGS, waits_start_doc},
    {"waits_on", native_waits_on, METH_NOARGS, "waits_on()\n--\n\nWhether it is measured."},
    {"waits_stop", native_waits_stop, METH_NOARGS, waits_stop_doc},
    {"waits_end", native_waits_end, METH_VARARGS, waits_end_doc},
    {"waits_adopt", native_waits_adopt, METH_O, waits_adopt_doc},
    {"waits_drain", native_waits_drain, METH_NOARGS, waits_drain_doc},
    {"fold", native_fold, METH_VARARGS, fold_doc},
    {"frames", native_frames, METH_NOARGS, frames_doc},
    {"alone", native_alone, METH_NOARGS, alone_doc},
    {"stack", native_stack, METH_VARARGS, stack_doc},
    {"status", native_status, METH_NOARGS, status_doc},
    {"use_signal", native_use_signal, METH_O, use_signal_doc},
    {"needs_signal", native_needs_signal, METH_NOARGS, needs_signal_doc},
    {"use_internal_walk", native_use_internal_walk, METH_O, use_internal_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "rbkit_websocket.native._native",
    .m_doc = "The CPU sampler in C: one a process. Called by one thread at a time, the server's.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__native(void)
{
    if (PyType_Ready(&StackType) < 0) {
        return NULL;
    }
    PyObject *module = PyModule_Create(&definition);
    if (S.collector == NULL) {
        S.collector = (PyObject *)PyCode_NewEmpty("<interpreter>", "(garbage collection)", 0);
    }
    if (module == NULL || S.collector == NULL) {
        Py_XDECREF(module);
        return NULL;
    }
    internal_walk = walks_agree();
    S.by_signal = HAVE_SIGNAL && !breaker_is_known();
    return module;
}
