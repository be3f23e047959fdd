#include <Python.h> /* defines _GNU_SOURCE */

#include "child.h"

#if CAN_FORK
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int close_some(unsigned from, unsigned to)
{
#ifdef SYS_close_range
    return from > to ? 0 : (int)syscall(SYS_close_range, from, to, 0);
#else
    return -1;
#endif
}

/* Closes every descriptor but two: peers of the parent's connections must see them end when the parent ends them. */
static void close_others(int one, int other)
{
    unsigned low = (unsigned)(one < other ? one : other), high = (unsigned)(one < other ? other : one);
    if ((low == 0 || close_some(0, low - 1) == 0) && close_some(low + 1, high - 1) == 0 &&
        close_some(high + 1, ~0U) == 0) {
        return;
    }
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        long most = sysconf(_SC_OPEN_MAX);
        for (int fd = 0; fd < (most > 0 && most < 1000000 ? most : 65536); fd++) {
            if (fd != one && fd != other) {
                close(fd);
            }
        }
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd != one && fd != other && fd != dirfd(directory)) {
            close(fd);
        }
    }
    closedir(directory);
}

void become_child(int file, int report, pid_t parent, long thread, unsigned seconds, const sigset_t *none)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || (syscall(SYS_tgkill, parent, thread, 0) < 0 && errno == ESRCH)) {
        _exit(1); /* the process, or the thread that counts as our parent, was gone before the line above */
    }
    close_others(file, report);
    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL); /* Python's own handlers only make a note, which nobody would read */
    }
    sigprocmask(SIG_SETMASK, none, NULL);
    alarm(seconds);
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0) {
        ssize_t ignored = write(score, "1000", 4); /* the first to go when memory runs out */
        (void)ignored;
        close(score);
    }
    prctl(PR_SET_NAME, "rbkit-heap");
    if (nice(10) == -1) {
        errno = 0;
    }
}

#endif
