#include "ticker.h"

#include "state.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "breaker.h"
#include "itself.h"
#include "weights.h"

/* A main thread that has not answered for so long is in a C function, or has our signal blocked. */
#define PATIENCE (10 * SECOND / 1000)

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

void *ticker_main(void *Py_UNUSED(unused))
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
