/* Walking a thread's Python frames: the public way, and a quicker one for the versions it was tried on.
 *
 * The interpreter's lock is held throughout. What comes out is borrowed: a code object lives at least as long as the
 * frame that runs it, and no frame ends while we hold the lock.
 */
#ifndef RBKIT_NATIVE_WALK_H
#define RBKIT_NATIVE_WALK_H

#include <Python.h>
#include <frameobject.h>

#include "_compat.h"

#define MAX_DEPTH 256
/* A recursion deeper than this hides the frame that is looked for. */
#define MAX_SEARCH 2000

typedef struct {
    PyObject *code;    /* a code object */
    Py_ssize_t lasti;  /* a frame's f_lasti: an offset in bytes */
} Frame;

/* The outermost frame that runs a certain code, as a walk finds it on its way. */
typedef struct {
    const PyObject *code; /* what to look for; NULL: nothing */
    int found;
    PyObject *frame; /* borrowed; NULL when the frame has no object yet */
} Marker;

/* The interpreter's own frames. A check at import compares both walks. */
#if HAVE_INTERNAL_WALK
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#include <internal/pycore_frame.h>
#undef Py_BUILD_CORE
#else
#include <internal/pycore_frame.h>
#endif
#endif

static int internal_walk = 0; /* whether to use it; set after the check at import */

static int walk_public(PyThreadState *tstate, Frame *out, Marker *marker)
{
    const int limit = marker->code != NULL ? MAX_SEARCH : MAX_DEPTH;
    int depth = 0;
    PyFrameObject *frame = PyThreadState_GetFrame(tstate);
    for (; frame != NULL && depth < limit; depth++) {
        Frame here;
#if PY_VERSION_HEX >= 0x030B0000
        PyCodeObject *code = PyFrame_GetCode(frame);
        here.code = (PyObject *)code;
        here.lasti = depth < MAX_DEPTH ? PyFrame_GetLasti(frame) : 0;
        Py_DECREF(code);
        PyFrameObject *back = PyFrame_GetBack(frame);
#else
        /* 3.10 has no PyFrame_GetLasti, and its struct is public. The field counts instructions of two bytes. */
        here.code = (PyObject *)frame->f_code;
        here.lasti = (Py_ssize_t)frame->f_lasti * 2;
        PyFrameObject *back = frame->f_back;
        Py_XINCREF(back);
#endif
        if (here.code == marker->code) {
            marker->found = 1;
            marker->frame = (PyObject *)frame; /* its own frame keeps it while it runs */
        }
        if (depth < MAX_DEPTH) {
            out[depth] = here;
        }
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    return depth < MAX_DEPTH ? depth : MAX_DEPTH;
}

#if HAVE_INTERNAL_WALK
/* The innermost frames, at most size of them; returns how many. */
static int walk_internal(PyThreadState *tstate, Frame *out, int size, Marker *marker)
{
    const int limit = marker->code != NULL ? MAX_SEARCH : size;
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
        if ((PyObject *)code == marker->code) {
            marker->found = 1;
            marker->frame = (PyObject *)frame->frame_obj;
        }
        if (depth < size) {
            out[depth].code = (PyObject *)code;
            out[depth].lasti = instruction * (Py_ssize_t)sizeof(_Py_CODEUNIT);
        }
        depth++;
    }
    return depth < size ? depth : size;
}
#endif

/* The innermost MAX_DEPTH frames of a thread, innermost first; returns how many. */
static inline int walk(PyThreadState *tstate, Frame *out, Marker *marker)
{
    marker->found = 0;
    marker->frame = NULL;
#if HAVE_INTERNAL_WALK
    if (internal_walk) {
        return walk_internal(tstate, out, MAX_DEPTH, marker);
    }
#endif
    return walk_public(tstate, out, marker);
}

/* Whether the internal walk may be used, and sees in the calling thread what the public one does. */
static int walks_agree(void)
{
#if HAVE_INTERNAL_WALK
    if (!layouts_hold()) {
        return 0;
    }
    static Frame one[MAX_DEPTH], other[MAX_DEPTH]; /* under the lock */
    PyThreadState *tstate = PyThreadState_Get();
    Marker first = {0}, second = {0};
    int depth = walk_public(tstate, one, &first);
    if (depth == 0) {
        return 1; /* nothing runs that could tell */
    }
    /* The outermost frame as the marker: after the public walk it has an object for both to find. */
    first.code = second.code = one[depth - 1].code;
    walk_public(tstate, one, &first);
    if (depth != walk_internal(tstate, other, MAX_DEPTH, &second) || first.frame != second.frame) {
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
