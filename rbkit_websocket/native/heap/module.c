/* The heap, written to a file: by a walk that holds the interpreter's lock, in this process or in a forked child.
 *
 * Every object that the collector knows and whatever can be reached from those, each once, in chunks of 1000 packed
 * objects (see heap.py for what is in them). No code of the application runs: types are read through their slots and
 * namespaces, sizes come from methods written in C. The walk makes no Python object that outlives a step, and none that
 * the collector knows; it changes no reference count of what it walks, so that a forked child leaves the pages that it
 * shares with its parent as they are.
 *
 * The file: the chunks, then an index of uint64 (where each chunk begins, and where the last one ends), then
 * {magic, objects, chunks, offset of the index} as uint64, everything in the machine's own byte order.
 *
 * Base is the public C API. What is private stands behind the releases it was tested on, and is checked when the module
 * is loaded: the collector's lists. Where that does not hold, PyUnstable_GC_VisitObjects or gc.get_objects() is used.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <stdint.h>
#include <time.h>

#include "../common/compat.h"
#include "../common/gc_lists.h"
#include "child.h"
#include "roots.h"
#include "walk.h"

#if CAN_FORK
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

/* The whole dump, without letting go of the interpreter's lock; 0 or an errno. */
static int dump(Walk *walk)
{
    PyObject *list = NULL;
    int error = read_modules(&walk->types.modules);
    if (!error) {
        error = bytes_reserve(&walk->output.bytes, OUTPUT_SIZE * 2);
    }
    /* No collection may begin in here: it would run the application's finalizers, and change what is walked. */
    int was_on = PyGC_Disable();
    if (!error) {
        error = find_roots(walk, &list);
    }
    report(walk, REPORT_ROOTS, walk->roots.count);
    for (size_t i = 0; !error && i < walk->roots.count; i++) {
        if (i + 8 < walk->roots.count) {
            PREFETCH(walk->roots.items[i + 8]);
        }
        error = dump_object(walk, walk->roots.items[i]);
        while (!error && walk->waiting.count > 0) {
            error = dump_object(walk, walk->waiting.items[--walk->waiting.count]);
        }
    }
    if (!error) {
        error = write_end(walk);
    }
    if (was_on) {
        PyGC_Enable();
    }
    Py_XDECREF(list);
    return error;
}

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#if CAN_FORK

PyDoc_STRVAR(fork_dump_doc,
             "fork_dump(file, seconds=300, hold=0.0, /)\n--\n\n"
             "Forks a child that writes the dump to the descriptor ``file``, and returns at once.\n\n"
             "None of Python's own hooks around a fork run: the child is C code only, and ends by ``_exit``. It is\n"
             "killed after ``seconds``, and when the calling thread ends. ``hold`` has it wait that many seconds first.\n\n"
             "Returns (pid, descriptor to read reports from, nanoseconds that the fork took).");

static PyObject *fork_dump(PyObject *Py_UNUSED(module), PyObject *args)
{
    int file, pipe_ends[2];
    unsigned seconds = 300;
    double hold = 0.0;
    sigset_t all, before, none;
    if (!PyArg_ParseTuple(args, "i|Id:fork_dump", &file, &seconds, &hold)) {
        return NULL;
    }
    if (pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    /* No handler of the parent's may run in the child. */
    sigfillset(&all);
    sigemptyset(&none);
    pid_t parent = getpid();
    long thread = syscall(SYS_gettid);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int64_t began = nanoseconds();
    pid_t pid = fork();
    if (pid == 0) {
        become_child(file, pipe_ends[1], parent, thread, seconds, &none);
        if (hold > 0) {
            struct timespec wait = {(time_t)hold, (long)((hold - (double)(time_t)hold) * 1e9)};
            nanosleep(&wait, NULL);
        }
        Walk walk = {.output = {.file = file}, .report = pipe_ends[1]};
        int error = dump(&walk);
        report(&walk, error ? REPORT_ERROR : REPORT_DONE, error ? (uint64_t)error : walk.count);
        _exit(error ? 1 : 0);
    }
    int64_t took = nanoseconds() - began;
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(pipe_ends[1]);
    if (pid < 0) {
        close(pipe_ends[0]);
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("iiL", (int)pid, pipe_ends[0], (long long)took);
}

PyDoc_STRVAR(reap_doc, "reap(pid, kill=False, /)\n--\n\n"
                       "Whether the child has ended; a zombie goes. With ``kill``, one that has not is killed.\n"
                       "True too if somebody else has reaped it, as an event loop may.");

static PyObject *reap(PyObject *Py_UNUSED(module), PyObject *args)
{
    int pid, end = 0, status;
    if (!PyArg_ParseTuple(args, "i|p:reap", &pid, &end)) {
        return NULL;
    }
    pid_t found;
    do {
        found = waitpid((pid_t)pid, &status, WNOHANG);
    } while (found < 0 && errno == EINTR);
    if (found == 0 && end) {
        kill((pid_t)pid, SIGKILL); /* it is still ours: nobody else can have its number */
    }
    return PyBool_FromLong(found != 0);
}

#endif

PyDoc_STRVAR(dump_doc, "dump(file, /)\n--\n\n"
                       "Writes the dump to the descriptor ``file``; nothing else of this process runs meanwhile.\n\n"
                       "Returns (objects, nanoseconds). Raises OSError.");

static PyObject *heap_dump(PyObject *Py_UNUSED(module), PyObject *args)
{
    int file;
    if (!PyArg_ParseTuple(args, "i:dump", &file)) {
        return NULL;
    }
    Walk walk = {.output = {.file = file}, .report = -1};
    int64_t began = nanoseconds();
    int error = dump(&walk);
    walk_free(&walk);
    int64_t took = nanoseconds() - began;
    if (error) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("KL", (unsigned long long)walk.count, (long long)took);
}

static PyMethodDef methods[] = {
    {"dump", heap_dump, METH_VARARGS, dump_doc},
#if CAN_FORK
    {"fork_dump", fork_dump, METH_VARARGS, fork_dump_doc},
    {"reap", reap, METH_VARARGS, reap_doc},
#endif
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    lists_are_known = check_lists();
    const char *roots = lists_are_known ? "lists" : HAVE_VISIT ? "visit" : "get_objects";
    return PyModule_AddIntConstant(module, "OBJECTS_PER_CHUNK", OBJECTS_PER_CHUNK) ||
           PyModule_AddIntConstant(module, "CAN_FORK", CAN_FORK) || PyModule_AddStringConstant(module, "ROOTS", roots);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, INTERPRETER_SLOT{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_heap", .m_doc = "The heap, written to a file by C code.",
    .m_methods = methods,  .m_slots = slots,
};

PyMODINIT_FUNC PyInit__heap(void)
{
    return PyModuleDef_Init(&definition);
}
