/* Walking a thread's Python frames: the public way, and a quicker one for the versions it was tried on.
 *
 * The interpreter's lock is held throughout. What comes out is borrowed: a code object lives at least as long as the
 * frame that runs it, and no frame ends while we hold the lock.
 */
#ifndef RBKIT_NATIVE_WALK_H
#define RBKIT_NATIVE_WALK_H

#include <Python.h>
#include <frameobject.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "_compat.h"

/* Of a deep stack so many frames are kept at each end, with one between that says how many are left out; depth.py does
 * the same. */
#define KEPT 128
#define MAX_DEPTH (2 * KEPT + 1)
/* A stack whose walk is felt. Looks at such a stack are so far apart that all of them take a few per cent of the time. */
#define DEEP 2000
#define NANOSECONDS_A_FRAME 500

typedef struct {
    PyObject *code;    /* a code object */
    Py_ssize_t lasti;  /* a frame's f_lasti: an offset in bytes */
} Frame;

/* What a walk finds on its way: the outermost frame that runs a certain code, the outermost one that runs one of several
 * others, and how many frames there are. */
typedef struct {
    const PyObject *code; /* what to look for; NULL: nothing */
    PyObject *const *servers;
    int n_servers;
    uint64_t filter; /* bits of all of these */
    int depth;
    int marked;
    PyObject *frame;        /* borrowed; NULL when the frame has no object yet */
    int server;             /* number + 1 of the code that was found; 0: none */
    int server_depth;       /* how far from the innermost frame */
    PyObject *server_frame; /* as ``frame`` */
} Marker;

/* One of 64, so that most frames cost one look and not one for each server. */
static inline uint64_t bit_of(const PyObject *code)
{
    return (uint64_t)1 << ((uint64_t)(uintptr_t)code * 0x9E3779B97F4A7C15u >> 58);
}

static inline void note_frame(Marker *marker, const PyObject *code, PyObject *frame, int depth)
{
    if (code == marker->code) {
        marker->marked = 1;
        marker->frame = frame;
        return;
    }
    if (!(marker->filter & bit_of(code))) {
        return;
    }
    for (int i = 0; i < marker->n_servers; i++) {
        if (code == marker->servers[i]) {
            marker->server = i + 1;
            marker->server_depth = depth;
            marker->server_frame = frame;
            return;
        }
    }
}

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

/* Where the frame goes that is so far from the innermost one: of the outer ones each takes the place of an older one. */
static inline int place_of(int depth)
{
    return depth <= KEPT ? depth : KEPT + 1 + (depth - KEPT - 1) % KEPT;
}

/* From a frame on, whose reference it takes: that of a thread, or where a greenlet is parked. */
static int walk_from(PyFrameObject *frame, Frame *out, Marker *marker)
{
    int depth = 0;
    for (; frame != NULL; depth++) {
        Frame here;
#if PY_VERSION_HEX >= 0x030B0000
        PyCodeObject *code = PyFrame_GetCode(frame);
        here.code = (PyObject *)code;
        here.lasti = PyFrame_GetLasti(frame);
        Py_DECREF(code);
        PyFrameObject *back = PyFrame_GetBack(frame);
#else
        /* 3.10 has no PyFrame_GetLasti, and its struct is public. The field counts instructions of two bytes. */
        here.code = (PyObject *)frame->f_code;
        here.lasti = (Py_ssize_t)frame->f_lasti * 2;
        PyFrameObject *back = frame->f_back;
        Py_XINCREF(back);
#endif
        note_frame(marker, here.code, (PyObject *)frame, depth); /* its own frame keeps it while it runs */
        out[place_of(depth)] = here;
        Py_DECREF(frame);
        frame = back;
    }
    return depth;
}

static int walk_public(PyThreadState *tstate, Frame *out, Marker *marker)
{
    return walk_from(PyThreadState_GetFrame(tstate), out, marker);
}

#if HAVE_INTERNAL_WALK
/* The same without objects; of the innermost frames only if ``limit`` is less than INT_MAX. */
static int walk_internal(PyThreadState *tstate, Frame *out, int limit, Marker *marker)
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
        note_frame(marker, (PyObject *)code, (PyObject *)frame->frame_obj, depth);
        out[place_of(depth++)] =
            (Frame){(PyObject *)code, instruction * (Py_ssize_t)sizeof(_Py_CODEUNIT)};
    }
    return depth;
}
#endif

/* What stands for frames that are left out: the code of a function that is named so, in no file. Borrowed. */
static inline PyObject *omitted(int number)
{
    static PyObject *known = NULL; /* by the number; under the lock */
    if (known == NULL && (known = PyDict_New()) == NULL) {
        return NULL;
    }
    if (PyDict_GET_SIZE(known) > 1024) {
        PyDict_Clear(known); /* those in use are kept by their stacks */
    }
    char name[64];
    snprintf(name, sizeof name, "(\xe2\x80\xa6 %d frames \xe2\x80\xa6)", number);
    PyObject *key = PyLong_FromLong(number);
    PyObject *code = key != NULL ? PyDict_GetItemWithError(known, key) : NULL;
    if (code == NULL && key != NULL && !PyErr_Occurred()) {
        PyObject *made = (PyObject *)PyCode_NewEmpty("", name, 0);
        code = made != NULL && PyDict_SetItem(known, key, made) == 0 ? made : NULL;
        Py_XDECREF(made);
    }
    Py_XDECREF(key);
    return code;
}

/* Puts the outer frames of a deep stack in order, and what stands for those left out before them. Returns how many are
 * there now. */
static inline int fit(Frame *out, int depth)
{
    if (depth <= MAX_DEPTH) {
        return depth;
    }
    Frame outer[KEPT];
    int oldest = place_of(depth) - KEPT - 1;
    for (int i = 0; i < KEPT; i++) {
        outer[i] = out[KEPT + 1 + (oldest + i) % KEPT];
    }
    PyObject *code = omitted(depth - 2 * KEPT);
    if (code == NULL) {
        PyErr_Clear(); /* there is no memory: the outer frames are better than none */
        memcpy(out + KEPT, outer, sizeof outer);
        return MAX_DEPTH - 1;
    }
    out[KEPT] = (Frame){code, 0};
    memcpy(out + KEPT + 1, outer, sizeof outer);
    return MAX_DEPTH;
}

/* The frames of a thread, innermost first, at most MAX_DEPTH; returns how many. */
static inline int walk(PyThreadState *tstate, Frame *out, Marker *marker)
{
#if HAVE_INTERNAL_WALK
    marker->depth = internal_walk ? walk_internal(tstate, out, INT_MAX, marker) : walk_public(tstate, out, marker);
#else
    marker->depth = walk_public(tstate, out, marker);
#endif
    return fit(out, marker->depth);
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
    first.code = second.code = one[place_of(depth - 1)].code;
    walk_public(tstate, one, &first);
    if (depth != walk_internal(tstate, other, INT_MAX, &second) || first.frame != second.frame) {
        return 0;
    }
    for (int i = 0; i < depth && i < MAX_DEPTH; i++) {
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
