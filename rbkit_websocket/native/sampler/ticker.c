#include "ticker.h"

#include "state.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "breaker.h"
#include "handler.h"
#include "itself.h"
#include "weights.h"

/* A main thread that has not answered for so long is in a C function, or has our signal blocked. */
#define PATIENCE (10 * SECOND / 1000)
/* Until an unanswered question is put again. A signal that is blocked queues: not often. */
#define SIGNAL_AGAIN (SECOND / 2)
#define BREAKER_AGAIN (2 * PATIENCE)

/* /proc/self/task/.../syscall of the main thread, or -1; the ticker's own. */
static int state_file = -1;

void ticker_begin(pid_t main_thread)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)main_thread);
    state_file = open(path, O_RDONLY | O_CLOEXEC);
}

void ticker_end(void)
{
    if (state_file >= 0) {
        close(state_file);
    }
    state_file = -1;
}

/* Whether the main thread computes, or would if it had a processor; in doubt it does. ``used`` of the ``passed`` time
 * since the last tick it did. */
static int main_runs(int64_t cpu, int64_t used, int64_t passed)
{
    if (used > passed - passed / 8 || read_clock(shared.main.clock) != cpu || state_file < 0) {
        return 1;
    }
    /* "running", or the number of the system call it waits in. */
    char word[8];
    return pread(state_file, word, sizeof word, 0) < 1 || word[0] == 'r';
}

static int ask_main(void)
{
    if (config.by_signal) {
        return pthread_kill(config.main_thread, handler.signum);
    }
    int failed = Py_AddPendingCall(on_pending, NULL);
    set_breaker(config.interpreter);
    return failed;
}

/* With the mutex, as the first time. */
static void ask_again(void)
{
    if (!config.by_signal) {
        /* In case the main thread was just clearing it. Not each tick: the other threads look for nothing as well. */
        set_breaker(config.interpreter);
    }
    else if (shared.asking.reachable) {
        /* Python calls no handler where the limit of recursion is reached, and has then forgotten the signal. */
        pthread_kill(config.main_thread, handler.signum);
    }
}

static void tick(int64_t now, int64_t *last, int64_t *last_cpu)
{
    shared.asking.ticks++;
    int64_t cpu = read_clock(shared.main.clock), used = cpu - *last_cpu, passed = now - *last;
    *last = now;
    *last_cpu = cpu;
    if (at_rest(&shared.main, now, cpu) || now < shared.asking.respite) {
        return;
    }
    if (shared.asking.pending && now - shared.asking.broke >= (config.by_signal ? SIGNAL_AGAIN : BREAKER_AGAIN)) {
        shared.asking.broke = now;
        ask_again();
    }
    int waits = shared.asking.pending && used == 0;
    int stuck = !shared.asking.reachable || (shared.asking.pending && now - shared.asking.pending_since > PATIENCE);
    if (shared.asking.reachable && !shared.asking.pending) {
        pthread_mutex_unlock(&shared.mutex);
        int runs = main_runs(cpu, used, passed);
        pthread_mutex_lock(&shared.mutex);
        if (runs && !shared.stopping && shared.asking.reachable) {
            shared.asking.pending = 1;
            shared.asking.pending_since = shared.asking.broke = now;
            shared.asking.cpu = cpu;
            shared.asking.asked++;
            /* With the mutex: whoever has set ``reachable`` to 0 relies on no signal coming any more. */
            if (ask_main() != 0) {
                shared.asking.pending = 0;
            }
            return;
        }
        waits = 1;
    }
    if (waits || (stuck && now - shared.asking.looked >= LOOK_PERIOD)) {
        shared.asking.look = 1 + (waits ? WAITS : SEEN);
        pthread_cond_signal(&shared.look);
    }
}

void *ticker_main(void *Py_UNUSED(unused))
{
    prctl(PR_SET_NAME, "rbkit-ticker");
    prctl(PR_SET_TIMERSLACK, 1UL); /* 50 us otherwise: half of the shortest interval */
    pthread_mutex_lock(&shared.mutex);
    int64_t next = read_clock(CLOCK_MONOTONIC), last = next, last_cpu = read_clock(shared.main.clock);
    while (!shared.stopping) {
        int64_t now = read_clock(CLOCK_MONOTONIC);
        if (next > now + shared.interval) {
            next = now + shared.interval; /* it has become shorter */
        }
        if (now < next) {
            wait_until(&shared.tick, next);
            continue;
        }
        next += shared.interval;
        if (next <= now) {
            next = now + shared.interval; /* ticks that were missed are not made up for: the weights are right */
        }
        tick(now, &last, &last_cpu);
    }
    shared.own_ns += read_clock(CLOCK_THREAD_CPUTIME_ID);
    pthread_mutex_unlock(&shared.mutex);
    return NULL;
}
