#include "frames.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* The interpreter's own frames. A check at import compares both walks. */
#if HAVE_INTERNAL_WALK
#define Py_BUILD_CORE 1
#if FRAMES_HAVE_TAGS
#include <internal/pycore_interpframe.h>
#else
#include <internal/pycore_frame.h>
#endif
#undef Py_BUILD_CORE

/* From this owner on there is no function: entries from C, of several kinds. */
#if FRAMES_HAVE_TAGS
#define FIRST_OWNER_IN_C FRAME_OWNED_BY_INTERPRETER
#elif FRAMES_OF_C
#define FIRST_OWNER_IN_C FRAME_OWNED_BY_CSTACK
#endif

/* What a frame runs: a code object, or what is none. */
static inline PyObject *executable_of(const struct _PyInterpreterFrame *frame)
{
#if FRAMES_HAVE_TAGS
    return (PyObject *)(frame->f_executable.bits & ~(uintptr_t)Py_INT_TAG);
#elif FRAMES_HAVE_EXECUTABLE
    return frame->f_executable;
#else
    return (PyObject *)frame->f_code;
#endif
}
#endif

int internal_walk = 0;

/* Where the frame goes that is so far from the innermost one: of the outer ones each takes the place of an older one. */
static inline int place_of(int depth)
{
    return depth <= KEPT ? depth : KEPT + 1 + (depth - KEPT - 1) % KEPT;
}

int walk_from(PyFrameObject *frame, Frame *out, Marker *marker)
{
    int depth = 0;
    for (; frame != NULL; depth++) {
        Frame here;
        PyCodeObject *code = PyFrame_GetCode(frame);
        here.code = (PyObject *)code;
        here.lasti = PyFrame_GetLasti(frame);
        Py_DECREF(code);
        PyFrameObject *back = PyFrame_GetBack(frame);
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
#if FRAMES_HAVE_EXECUTABLE
    struct _PyInterpreterFrame *frame = tstate->current_frame;
#else
    struct _PyInterpreterFrame *frame = tstate->cframe->current_frame;
#endif
    int depth = 0;
    for (; frame != NULL && depth < limit; frame = frame->previous) {
#if FRAMES_OF_C
        if (frame->owner >= FIRST_OWNER_IN_C) {
            continue; /* the entry from C, no function */
        }
#endif
        PyCodeObject *code = (PyCodeObject *)executable_of(frame);
#if FRAMES_HAVE_EXECUTABLE
        if (code == NULL || !PyCode_Check(code)) {
            continue;
        }
        Py_ssize_t instruction = frame->instr_ptr - _PyCode_CODE(code);
#else
        Py_ssize_t instruction = frame->prev_instr - _PyCode_CODE(code);
#endif
        if (frame->owner != FRAME_OWNED_BY_GENERATOR && instruction < code->_co_firsttraceable) {
            continue; /* a frame in the making: the public functions do not show it either */
        }
        note_frame(marker, (PyObject *)code, (PyObject *)frame->frame_obj, depth);
        out[place_of(depth++)] = (Frame){(PyObject *)code, instruction * (Py_ssize_t)sizeof(_Py_CODEUNIT)};
    }
    return depth;
}
#endif

/* What stands for frames that are left out: the code of a function that is named so, in no file. Borrowed. */
static PyObject *omitted(int number)
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

int fit(Frame *out, int depth)
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

int walk(PyThreadState *tstate, Frame *out, Marker *marker)
{
#if HAVE_INTERNAL_WALK
    marker->depth = internal_walk ? walk_internal(tstate, out, INT_MAX, marker) : walk_public(tstate, out, marker);
#else
    marker->depth = walk_public(tstate, out, marker);
#endif
    return fit(out, marker->depth);
}

int innermost(Frame *out)
{
#if HAVE_INTERNAL_WALK
    Marker nothing = {0};
    return internal_walk && walk_internal(PyThreadState_Get(), out, 1, &nothing) == 1;
#else
    (void)out;
    return 0;
#endif
}

int innermost_is_known(void)
{
    return internal_walk;
}

int walks_agree(void)
{
#if HAVE_INTERNAL_WALK
    if (release_that_runs() == RELEASE_UNKNOWN) {
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
