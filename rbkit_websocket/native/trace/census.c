#include "census.h"

#if HAVE_LISTS

#include <time.h>

#include "../common/table.h"

#define NODES_BETWEEN_CLOCKS 64

/* Where a census is: in the lists in this order. */
enum { FROZEN = 0, DONE = 4 };
/* What a walk comes to. */
enum { NO_MEMORY = -1, NOT_YET, COUNTED, SHUFFLED };

typedef struct {
    Table counts;       /* type: objects in younger generations << 32 | in the oldest and the frozen ones */
    PyObject *bookmark; /* what keeps the place; NULL while no census is under way */
    GcLists *lists;
    GcHead *first_frozen; /* when it began; the list's head: there was none */
    int stage;            /* of the walk */
} Census;

static Census census;

static GcHead *census_head(int stage)
{
    switch (stage) {
    case FROZEN:
        return &census.lists->permanent.head;
    case FROZEN + 1:
        return &census.lists->generations[2].head;
    case FROZEN + 2:
        return &census.lists->generations[1].head;
    default:
        return &census.lists->generations[0].head;
    }
}

static void node_unlink(GcHead *node)
{
    GcHead *next = GC_NODE(node->next), *previous = GC_NODE(node->previous);
    previous->next = (uintptr_t)next | (previous->next & 3);
    next->previous = (uintptr_t)previous | (next->previous & 3);
}

/* Puts the bookmark behind a node, which may be a head. */
static void bookmark_behind(GcHead *node)
{
    GcHead *mark = NODE_OF(census.bookmark);
    if (mark == node) {
        return;
    }
    node_unlink(mark);
    GcHead *next = GC_NODE(node->next);
    mark->next = (uintptr_t)next | (mark->next & 3);
    mark->previous = (uintptr_t)node | (mark->previous & 3);
    node->next = (uintptr_t)mark | (node->next & 3);
    next->previous = (uintptr_t)mark | (next->previous & 3);
}

static GcHead *first_frozen(void)
{
    GcHead *first = GC_NODE(census_head(FROZEN)->next);
    return first == NODE_OF(census.bookmark) ? GC_NODE(first->next) : first;
}

static int is_head(GcHead *node)
{
    return (char *)node >= (char *)census.lists && (char *)node < (char *)(census.lists + 1);
}

static int count_object(PyObject *object, int old)
{
    PyTypeObject *type = Py_TYPE(object);
    TableSlot *slot = table_find(&census.counts, (uintptr_t)type);
    if (slot == NULL) {
        slot = table_add(&census.counts, (uintptr_t)type, 0);
        if (slot == NULL) {
            return -1;
        }
        Py_INCREF(type); /* or it might be gone, and its address another's, by the next slice */
    }
    slot->value += old ? 1 : UINT64_C(1) << 32;
    return 0;
}

static int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Counts until the time is over. */
static int census_walk(int64_t until)
{
    if (first_frozen() != census.first_frozen) {
        return SHUFFLED; /* by gc.freeze() or gc.unfreeze(); or the first of them has ended, which costs nothing more */
    }
    while (census.stage < DONE) {
        int old = census.stage < FROZEN + 2, since_clock = 0;
        GcHead *mark = NODE_OF(census.bookmark);
        GcHead *last = mark, *node = GC_NODE(mark->next);
        while (!is_head(node)) {
            GcHead *next = GC_NODE(node->next);
            __builtin_prefetch((PyObject *)(next + 1));
            if (node != mark && count_object((PyObject *)(node + 1), old)) {
                return NO_MEMORY;
            }
            last = node;
            node = next;
            if (++since_clock == NODES_BETWEEN_CLOCKS) {
                since_clock = 0;
                if (monotonic_ns() >= until) {
                    bookmark_behind(last);
                    return NOT_YET;
                }
            }
        }
        if ((node == census_head(FROZEN)) != (census.stage == FROZEN)) {
            return SHUFFLED; /* by gc.freeze() */
        }
        if (++census.stage < DONE) {
            bookmark_behind(census_head(census.stage));
        }
    }
    return COUNTED;
}

/* Every reference to a type, into a list that the caller releases where that may be done. */
static void census_clear(PyObject *into)
{
    for (size_t place = 0; place < table_places(&census.counts); place++) {
        PyObject *type = (PyObject *)(uintptr_t)census.counts.slots[place].key;
        if (type != NULL) {
            if (into == NULL || PyList_Append(into, type)) {
                PyErr_Clear();
            }
            Py_DECREF(type);
        }
    }
    table_free(&census.counts);
}

PyDoc_STRVAR(census_begin_doc, "census_begin()\n\nBegins to count, anew if a census is under way.");

static PyObject *census_begin(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    if (!lists_are_known) {
        PyErr_SetString(PyExc_RuntimeError, "the collector's lists are not known here");
        return NULL;
    }
    PyObject *types = PyList_New(0);
    if (types == NULL) {
        return NULL;
    }
    census_clear(types);
    Py_XSETREF(census.bookmark, PyList_New(0));
    if (census.bookmark == NULL) {
        Py_DECREF(types);
        return NULL;
    }
    census.lists = lists_before(census.bookmark);
    census.stage = FROZEN;
    census.first_frozen = first_frozen();
    bookmark_behind(census_head(FROZEN));
    return types;
}

PyDoc_STRVAR(census_step_doc, "census_step(microseconds)\n\n"
             "Counts for that long; whether everything has been counted, None when it has to begin anew.");

static PyObject *census_step(PyObject *Py_UNUSED(module), PyObject *argument)
{
    long microseconds = PyLong_AsLong(argument);
    if (microseconds == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (census.bookmark == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no census is under way");
        return NULL;
    }
    int done = census_walk(monotonic_ns() + (int64_t)microseconds * 1000);
    if (done == SHUFFLED) {
        Py_RETURN_NONE;
    }
    return done == NO_MEMORY ? PyErr_NoMemory() : PyBool_FromLong(done == COUNTED);
}

PyDoc_STRVAR(census_end_doc, "census_end()\n\nEnds it: a list of (class, live, of these in the oldest generation).");

static PyObject *census_end(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *result = PyList_New(0);
    if (result == NULL) {
        return NULL;
    }
    for (size_t place = 0; place < table_places(&census.counts); place++) {
        TableSlot *slot = &census.counts.slots[place];
        if (slot->key != 0) {
            unsigned long long old = slot->value & UINT32_MAX, young = slot->value >> 32;
            PyObject *row = Py_BuildValue("(OKK)", (PyObject *)(uintptr_t)slot->key, old + young, old);
            int failed = row == NULL || PyList_Append(result, row);
            Py_XDECREF(row);
            if (failed) {
                Py_DECREF(result);
                return NULL;
            }
        }
    }
    census_clear(NULL); /* the rows hold them now */
    Py_CLEAR(census.bookmark);
    return result;
}

PyMethodDef census_methods[] = {
    {"census_begin", census_begin, METH_NOARGS, census_begin_doc},
    {"census_step", census_step, METH_O, census_step_doc},
    {"census_end", census_end, METH_NOARGS, census_end_doc},
    {NULL, NULL, 0, NULL},
};

#endif
