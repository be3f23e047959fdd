/* Walking a thread's Python frames: the public way, and a quicker one for the versions it was tried on.
 *
 * The interpreter's lock is held throughout. What comes out is borrowed: a code object lives at least as long as the
 * frame that runs it, and no frame ends while we hold the lock.
 */
#ifndef RBKIT_FRAMES_H
#define RBKIT_FRAMES_H

#include <Python.h>
#include <stdint.h>

#include "compat.h"

/* Of a deep stack so many frames are kept at each end, with one between that says how many are left out; depth.py does
 * the same. */
#define KEPT 128
#define MAX_DEPTH (2 * KEPT + 1)
/* A stack whose walk is felt. Looks at such a stack are so far apart that all of them take a few per cent of the time. */
#define DEEP 2000
#define NANOSECONDS_A_FRAME 500

typedef struct {
    PyObject *code;   /* a code object */
    Py_ssize_t lasti; /* a frame's f_lasti: an offset in bytes */
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

/* Whether to walk the interpreter's own frames; set after the check at import. */
extern int internal_walk;

/* The frames of a thread, innermost first, at most MAX_DEPTH; returns how many. */
int walk(PyThreadState *tstate, Frame *out, Marker *marker);

/* From a frame on, whose reference it takes: that of a thread, or where a greenlet is parked. For fit(). */
int walk_from(PyFrameObject *frame, Frame *out, Marker *marker);

/* The frame that runs in the calling thread, without making an object; 0 where there is none or that cannot be told. */
int innermost(Frame *out);

/* Whether it can be told. */
int innermost_is_known(void);

/* Puts the outer frames of a deep stack in order, and what stands for those left out before them. Returns how many are
 * there now. */
int fit(Frame *out, int depth);

/* Whether the internal walk may be used, and sees in the calling thread what the public one does. */
int walks_agree(void);

#endif
