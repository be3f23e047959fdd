#include "looker.h"

#include "state.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/compat.h"
#include "../common/frames.h"
#include "requests.h"
#include "weights.h"

#define BREATH (3 * SECOND / 10000)
/* Threads that nothing else would tell of (a C thread that comes to Python later) are looked for so often. */
#define RESCAN (SECOND / 10)
#define NEWBORN_LOOKS 20
#define MANY_THREADS 100

/* A thread's CPU clock is numbered after the kernel's id of it (CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED of
 * linux/posix-timers.h): that of a dead thread merely fails. */
#if THREADS_HAVE_NUMBERS
static clockid_t clock_of_tid(pid_t tid)
{
    return (clockid_t)((~(unsigned int)tid << 3) | 6u);
}
#endif

/* The looker's own; what others do with it they do before it runs, or with the lock. */
static struct {
    PyThreadState *state;
    int waits_for_lock; /* atomic */
    int threads_file;   /* /proc/self/task, or -1 */
    uint64_t threads;   /* their fingerprint */
    unsigned long generation;
    uint64_t frameless;
    int newborn;  /* how many more looks, at most, until a new thread has its first frame */
    int64_t deep; /* frames of deep stacks in its last look */
    int64_t checked, scanned;
} own = {.threads_file = -1};

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
    if (own.threads_file < 0 || fstat(own.threads_file, &facts) != 0) {
        return 0;
    }
    if (facts.st_nlink > MANY_THREADS) {
        return facts.st_nlink; /* reading names would cost a millisecond */
    }
    if (lseek(own.threads_file, 0, SEEK_SET) != 0) {
        return 0;
    }
    while ((filled = syscall(SYS_getdents64, own.threads_file, buffer, sizeof buffer)) > 0) {
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
    int moved = threads == 0 || threads != own.threads || own.newborn > 0 || now - own.scanned >= RESCAN;
    for (size_t i = 0; i < shared.n_others; i++) {
        int64_t cpu = read_clock(shared.others[i].clock);
        pthread_mutex_lock(&shared.mutex);
        moved |= !at_rest(&shared.others[i], now, cpu);
        pthread_mutex_unlock(&shared.mutex);
    }
    if (!moved) {
        own.checked = now;
    }
    return moved;
}

static int clock_of(PyThreadState *tstate, clockid_t *clock)
{
#if THREADS_HAVE_NUMBERS
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
    *slot = (Slot){.ident = ident, .clock = clock, .wall_seen = own.checked, .request = slot->request};
    int64_t used = read_clock(clock);
    slot->cpu_seen = used > now - own.checked ? used - (now - own.checked) : 0;
}

/* The slot of a thread, made if there is none; NULL without memory. ``hint``: behind the last one found. */
static Slot *slot_of(PyThreadState *tstate, size_t *hint, int64_t now)
{
    Slot *slot = NULL;
    clockid_t clock;
    if (clock_of(tstate, &clock) != 0) {
        return NULL;
    }
    for (size_t i = 0; slot == NULL && i < shared.n_others; i++) {
        size_t at = (*hint + i) % shared.n_others;
        if (shared.others[at].ident == tstate->thread_id) {
            *hint = at + 1;
            slot = &shared.others[at];
        }
    }
    if (slot != NULL && slot->clock == clock) {
        return slot;
    }
    pthread_mutex_lock(&shared.mutex);
    if (slot != NULL) {
        flush_idle(slot); /* the identity is another thread's now */
    }
    else if (shared.n_others == shared.room_others) {
        size_t room = shared.room_others ? shared.room_others * 2 : 32;
        Slot *others = realloc(shared.others, room * sizeof *others);
        if (others != NULL) {
            shared.others = others;
            shared.room_others = room;
        }
    }
    if (slot == NULL && shared.n_others < shared.room_others) {
        slot = &shared.others[shared.n_others++];
        slot->request = NULL;
    }
    if (slot != NULL) {
        begin_slot(slot, tstate->thread_id, clock, now);
    }
    pthread_mutex_unlock(&shared.mutex);
    return slot;
}

static int is_own(unsigned long ident)
{
    PyObject *number = PyLong_FromUnsignedLong(ident);
    int found = number != NULL ? PySet_Contains(config.own, number) : -1;
    Py_XDECREF(number);
    if (found < 0) {
        PyErr_Clear();
    }
    return found != 0;
}

/* The slots of dead threads go; what they referred to goes without the mutex. */
static void drop_unseen(void)
{
    size_t kept = 0, before = shared.n_others;
    pthread_mutex_lock(&shared.mutex);
    for (size_t i = 0; i < before; i++) {
        if (shared.others[i].seen == own.generation) {
            Slot slot = shared.others[kept];
            shared.others[kept++] = shared.others[i];
            shared.others[i] = slot;
        }
    }
    for (size_t i = kept; i < before; i++) {
        flush_idle(&shared.others[i]);
    }
    shared.n_others = kept;
    pthread_mutex_unlock(&shared.mutex);
    for (size_t i = kept; i < before; i++) {
        Py_CLEAR(shared.others[i].request);
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
    own.deep += marker.depth > DEEP ? marker.depth : 0;
    Slot *slot = tstate->thread_id == shared.main.ident ? &shared.main : slot_of(tstate, hint, now);
    if (slot == NULL) {
        return 1;
    }
    slot->seen = own.generation;
    int64_t cpu = read_clock(slot->clock);
    pthread_mutex_lock(&shared.mutex);
    int rests = at_rest(slot, now, cpu);
    if (baseline) {
        slot->wall_seen = now;
        slot->cpu_seen = cpu;
    }
    /* The main thread may just have looked at itself. */
    int fresh = slot == &shared.main && now - slot->wall_seen < shared.interval / 2 && !baseline;
    pthread_mutex_unlock(&shared.mutex);
    if (!rests && !fresh) {
        put_sample(slot, frames, depth, request_of(tstate, &marker), now, cpu, way);
    }
    return 1;
}

void look(int baseline)
{
    static int looking = 0; /* under the lock, which the end of somebody's request may have let go */
    if (looking) {
        return;
    }
    looking = 1;
    /* Looks make objects. No collection shall run the application's finalizers in this thread. */
    int collecting = PyGC_Disable();
    pthread_mutex_lock(&shared.mutex);
    shared.looks++;
    int at_main = shared.asking.look;
    shared.asking.look = 0;
    shared.asking.looked = at_main ? read_clock(CLOCK_MONOTONIC) : shared.asking.looked;
    pthread_mutex_unlock(&shared.mutex);
    PyThreadState *self = PyThreadState_Get();
    int64_t now = read_clock(CLOCK_MONOTONIC);
    size_t hint = 0;
    uint64_t frameless = 0;
    own.deep = 0;
    own.threads = fingerprint();
    own.generation++;
    for (PyThreadState *tstate = PyInterpreterState_ThreadHead(config.interpreter); tstate != NULL;
         tstate = PyThreadState_Next(tstate)) {
        unsigned long ident = tstate->thread_id;
        int is_main = ident == shared.main.ident;
        if (tstate == self || tstate == own.state || ident == 0 || (is_main && !at_main) || is_own(ident)) {
            continue;
        }
        if (!look_at(tstate, now, &hint, baseline, is_main ? (Way)(at_main - 1) : SEEN)) {
            /* Has not begun yet, or has left Python: a sum over them tells whether they are the same as last time. */
            frameless += PyThreadState_GetID(tstate) * 0x9E3779B97F4A7C15u;
        }
    }
    drop_unseen();
    own.newborn = frameless == 0 ? 0 : frameless != own.frameless ? NEWBORN_LOOKS : own.newborn - (own.newborn > 0);
    own.frameless = frameless;
    own.checked = own.scanned = now;
    if (collecting) {
        PyGC_Enable();
    }
    looking = 0;
}

void looker_begin(int64_t now)
{
    own.checked = own.scanned = now;
    own.threads_file = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void looker_end(void)
{
    if (own.threads_file >= 0) {
        close(own.threads_file);
    }
    own.threads_file = -1;
    own.state = NULL;
}

void looker_forget(void)
{
    own.state = NULL;
}

void *looker_main(void *Py_UNUSED(unused))
{
    prctl(PR_SET_NAME, "rbkit-looker");
    /* Who asks for the lock of an interpreter that ends never comes back from there. atexit stops this thread before that
     * can be; it asks nevertheless, each time: somebody may have started it later. */
    if (interpreter_ends()) {
        return NULL;
    }
    PyGILState_STATE gil = PyGILState_Ensure(); /* makes a thread state, kept until the end */
    own.state = PyThreadState_Get();
    PyThreadState *tstate = PyEval_SaveThread();
    int64_t next = read_clock(CLOCK_MONOTONIC);
    pthread_mutex_lock(&shared.mutex);
    while (!shared.stopping) {
        int64_t now = read_clock(CLOCK_MONOTONIC);
        if (!shared.asking.look && now < next) {
            wait_until(&shared.look, next);
            continue;
        }
        int wanted = shared.asking.look;
        int64_t period = shared.interval > LOOK_PERIOD ? shared.interval : LOOK_PERIOD;
        period += (int64_t)shared.n_others * 20000; /* a thousand threads' clocks take a millisecond to read */
        pthread_mutex_unlock(&shared.mutex);
        if (now >= next) {
            next = now + period;
            wanted |= others_moved(now);
        }
        if (interpreter_ends()) {
            return NULL; /* with it ends the thread's state */
        }
        if (wanted) {
            __atomic_store_n(&own.waits_for_lock, 1, __ATOMIC_RELAXED);
            PyEval_RestoreThread(tstate);
            __atomic_store_n(&own.waits_for_lock, 0, __ATOMIC_RELAXED);
            if (run.state == ON) {
                look(0);
            }
            tstate = PyEval_SaveThread();
            /* Whoever wants the lock before the other has it back waits for two switch intervals, not one. */
            int64_t then = read_clock(CLOCK_MONOTONIC) + BREATH + own.deep * NANOSECONDS_A_FRAME;
            next = next > then ? next : then;
        }
        pthread_mutex_lock(&shared.mutex);
    }
    shared.own_ns += read_clock(CLOCK_THREAD_CPUTIME_ID);
    pthread_mutex_unlock(&shared.mutex);
    if (interpreter_ends()) {
        return NULL;
    }
    PyEval_RestoreThread(tstate);
    own.state = NULL;
    PyGILState_Release(gil);
    return NULL;
}

PyDoc_STRVAR(catch_up_doc,
"catch_up()\n--\n\n"
"Takes the look for which the looker waits for the interpreter's lock, if it does: whoever of our threads is let in\n"
"first looks, since the application goes on between one of them and the next.");

static PyObject *native_catch_up(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (run.state == ON && __atomic_load_n(&own.waits_for_lock, __ATOMIC_RELAXED)) {
        look(0);
    }
    Py_RETURN_NONE;
}

PyMethodDef looker_methods[] = {
    {"catch_up", native_catch_up, METH_NOARGS, catch_up_doc},
    {NULL, NULL, 0, NULL},
};
