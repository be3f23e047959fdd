/* Objects as they are made and freed, and a census of all that the collector tracks.
 *
 * Two ways to see an object's begin and end, both exact for the classes asked for:
 *
 * - hooks: tp_alloc and tp_free of classes written in Python. tp_alloc is called for every new
 *   instance; tp_free when its memory goes, so a resurrected object has not ended. tp_dealloc is left alone:
 *   subtype_dealloc and the trashcan compare it with themselves.
 * - the reference tracer (PyRefTracer_SetTracer, from 3.13 on): the interpreter tells of every object of every class.
 *
 * What runs while an object is made or freed is hook_alloc(), hook_free_*() and on_reference(): plain memory, no Python
 * object is made, nothing can fail, no lock but the interpreter's. What they note waits in a ring until drain().
 *
 * A created event takes a place in the ring for the destroyed one as well, so that each created that was told gets its
 * destroyed, however late the ring is emptied. Objects for which there is no place are counted and not followed.
 *
 * Both only where compat.h lets them.
 *
 * The state is the process's, and one interpreter's at a time. A hook that is left behind somewhere does what the
 * function did that it stands for, so nothing breaks when it is called after the end.
 */

#ifndef RBKIT_TRACE_EVENTS_H
#define RBKIT_TRACE_EVENTS_H

#include <Python.h>

#include <stdint.h>

#include "../common/compat.h"
#include "../common/table.h"

enum { OFF = 0, BY_HOOKS = 1, BY_REFERENCES = 2 };

#define MAX_NEWBORN 4096
#define MAX_SITES 16384
#define MAX_NAME 256
#define MAX_UNSEEN 1000

typedef struct {
    uint64_t id;
    int64_t at; /* wall clock, nanoseconds */
    uint32_t class;
    uint32_t created;
} Event;

/* One class that is, or was, looked at. Its index is its name on the way out. */
typedef struct {
    PyTypeObject *type; /* borrowed; NULL when it has gone */
    PyObject *reference;
    PyObject *name; /* NULL: not looked at, only kept alike with another (see make_alike) */
    uint64_t born, died, born_told, died_told;
    int hooked;
} Class;

typedef struct {
    PyObject *code;
    Py_ssize_t lasti;
    uint32_t class;
    uint64_t born, live;
} Site;

typedef struct {
    int mechanism;
    PyInterpreterState *interpreter;
    PyObject *patterns; /* tuple of str */
    PyObject *on_death; /* the callback of the classes' weak references */
    int with_sites;

    Class *classes;
    size_t class_count, class_room;
    Table by_type, by_reference;
    size_t refused;   /* classes that are no class of Python, or not as these are made */
    PyObject *unseen; /* a set: names of those written in Python whose base keeps quiet about their objects */

    PyTypeObject *newborn[MAX_NEWBORN]; /* classes, held until they can be looked at */
    size_t newborn_count;
    int newborn_lost, call_scheduled;

    Table live; /* object: class << 32 | site */
    size_t max_live;
    Event *ring;
    size_t ring_size, first, waiting;
    uint64_t stride, until_next, quota, chance;
    uint64_t skipped;

    Site *sites;
    size_t site_count;
    Table by_site;
} Trace;

extern Trace trace;
extern __thread int muted;

/* What the slots of classes written in Python hold; see find_originals(). */
extern allocfunc plain_alloc;
extern freefunc free_tracked, free_untracked;

/* How far the next object to follow is: one in stride on average, and not always as far, or of objects that are made in
 * turns only one kind would be seen. */
uint64_t draw_distance(void);

PyObject *hook_alloc(PyTypeObject *type, Py_ssize_t count);

PyObject *hook_alloc_class(PyTypeObject *metaclass, Py_ssize_t count);

void hook_free_tracked(void *object);

void hook_free_untracked(void *object);

#if HAVE_REFTRACER
/* Of every object of every interpreter, so it has to say no quickly. */
int on_reference(PyObject *object, PyRefTracerEvent event, void *data);
#endif

#endif
