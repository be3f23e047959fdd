/* Walking a thread's Python frames: the public way, and a quicker one for the versions it was tried on.
 *
 * The interpreter's lock is held throughout. What comes out is borrowed: a code object lives at least as long as the
 * frame that runs it, and no frame ends while we hold the lock.
 */
#ifndef RBKIT_NATIVE_WALK_H
#define RBKIT_NATIVE_WALK_H

#include <Python.h>
#include <frameobject.h>

#define MAX_DEPTH 256

typedef struct {
    PyObject *code;    /* a code object */
    Py_ssize_t lasti;  /* a frame's f_lasti: an offset in bytes */
} Frame;

/* The interpreter's own frames, without an object for each: CPython 3.11 to 3.13, whose headers are there. A check at
 * import compares both walks and falls back, should a patch release differ from the headers of the build. */
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000 && !defined(PYPY_VERSION) && \
    !defined(RBKIT_PUBLIC_ONLY) && defined(__has_include)
#if __has_include(<internal/pycore_frame.h>)
#define HAVE_INTERNAL_WALK 1
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#include <internal/pycore_frame.h>
#undef Py_BUILD_CORE
#else
#include <internal/pycore_frame.h>
#endif
#endif
#endif

static int internal_walk = 0; /* whether to use it; set after the check at import */

static int walk_public(PyThreadState *tstate, Frame *out, int limit)
{
    int depth = 0;
    PyFrameObject *frame = PyThreadState_GetFrame(tstate);
    while (frame != NULL && depth < limit) {
#if PY_VERSION_HEX >= 0x030B0000
        PyCodeObject *code = PyFrame_GetCode(frame);
        out[depth].lasti = PyFrame_GetLasti(frame);
        out[depth].code = (PyObject *)code;
        Py_DECREF(code);
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
#else
        /* 3.10 has no PyFrame_GetLasti, and its struct is public. The field counts instructions of two bytes. */
        out[depth].code = (PyObject *)frame->f_code;
        out[depth].lasti = (Py_ssize_t)frame->f_lasti * 2;
        PyFrameObject *back = frame->f_back;
        Py_XINCREF(back);
        Py_DECREF(frame);
#endif
        frame = back;
        depth++;
    }
    Py_XDECREF(frame);
    return depth;
}

#ifdef HAVE_INTERNAL_WALK
static int walk_internal(PyThreadState *tstate, Frame *out, int limit)
{
#if PY_VERSION_HEX >= 0x030D0000
    struct _PyInterpreterFrame *frame = tstate->current_frame;
#else
    struct _PyInterpreterFrame *frame = tstate->cframe->current_frame;
#endif
    int depth = 0;
    for (; frame != NULL && depth < limit; frame = frame->previous) {
#if PY_VERSION_HEX >= 0x030C0000
        if (frame->owner == FRAME_OWNED_BY_CSTACK) {
            continue; /* the entry from C, no function */
        }
#endif
#if PY_VERSION_HEX >= 0x030D0000
        if (!PyCode_Check(frame->f_executable)) {
            continue;
        }
        PyCodeObject *code = (PyCodeObject *)frame->f_executable;
        Py_ssize_t instruction = frame->instr_ptr - _PyCode_CODE(code);
#else
        PyCodeObject *code = frame->f_code;
        Py_ssize_t instruction = frame->prev_instr - _PyCode_CODE(code);
#endif
        if (frame->owner != FRAME_OWNED_BY_GENERATOR && instruction < code->_co_firsttraceable) {
            continue; /* a frame in the making: the public functions do not show it either */
        }
        out[depth].code = (PyObject *)code;
        out[depth].lasti = instruction * (Py_ssize_t)sizeof(_Py_CODEUNIT);
        depth++;
    }
    return depth;
}
#endif

/* The innermost MAX_DEPTH frames of a thread, innermost first; returns how many. */
static inline int walk(PyThreadState *tstate, Frame *out)
{
#ifdef HAVE_INTERNAL_WALK
    if (internal_walk) {
        return walk_internal(tstate, out, MAX_DEPTH);
    }
#endif
    return walk_public(tstate, out, MAX_DEPTH);
}

/* Whether both walks see the same in the calling thread. */
static int walks_agree(void)
{
#ifdef HAVE_INTERNAL_WALK
    static Frame one[MAX_DEPTH], other[MAX_DEPTH]; /* under the lock */
    PyThreadState *tstate = PyThreadState_Get();
    int depth = walk_public(tstate, one, MAX_DEPTH);
    if (depth != walk_internal(tstate, other, MAX_DEPTH)) {
        return 0;
    }
    for (int i = 0; i < depth; i++) {
        if (one[i].code != other[i].code || one[i].lasti != other[i].lasti) {
            return 0;
        }
    }
    return 1;
#else
    return 0;
#endif
}

#endif
