#include "events.h"

#include <time.h>

#include "../common/frames.h"
#include "classes.h"

Trace trace;
__thread int muted = 0;

allocfunc plain_alloc;
freefunc free_tracked, free_untracked;

static inline void put_event(uint64_t id, uint32_t class, uint32_t created)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    size_t place = trace.first + trace.waiting++;
    trace.ring[place & (trace.ring_size - 1)] =
        (Event){id, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec, class, created};
}

/* The place where the running Python code is; 0 when that cannot be told. Sites are numbered from 1. */
static uint32_t find_site(uint32_t class)
{
    Frame frame;
    if (!innermost(&frame)) {
        return 0;
    }
    uint64_t key = table_key(((uint64_t)(uintptr_t)frame.code * 31 + (uint64_t)frame.lasti) * 31 + class);
    for (TableSlot *slot = table_find(&trace.by_site, key); slot != NULL; slot = table_next(&trace.by_site, slot)) {
        Site *site = &trace.sites[slot->value];
        if (site->code == frame.code && site->lasti == frame.lasti && site->class == class) {
            return (uint32_t)slot->value + 1;
        }
    }
    if (trace.site_count >= MAX_SITES) {
        return 0;
    }
    Py_INCREF(frame.code);
    trace.sites[trace.site_count] = (Site){frame.code, frame.lasti, class, 0, 0};
    table_put(&trace.by_site, key, trace.site_count);
    return (uint32_t)++trace.site_count;
}

static void forget_live(TableSlot *slot)
{
    uint32_t class = (uint32_t)(slot->value >> 32), site = (uint32_t)slot->value;
    put_event(slot->key, class, 0);
    if (site != 0) {
        trace.sites[site - 1].live--;
    }
    table_remove(&trace.live, slot);
}

uint64_t draw_distance(void)
{
    if (trace.stride == 1) {
        return 1;
    }
    trace.chance ^= trace.chance << 13; /* xorshift64, Marsaglia 2003 */
    trace.chance ^= trace.chance >> 7;
    trace.chance ^= trace.chance << 17;
    return 1 + (trace.chance >> 11) % (2 * trace.stride - 1);
}

static void note_birth(PyTypeObject *type, PyObject *object)
{
    TableSlot *known = table_find(&trace.by_type, (uintptr_t)type);
    if (known == NULL) {
        return;
    }
    uint32_t class = (uint32_t)known->value;
    trace.classes[class].born++;
    uint64_t id = (uintptr_t)object;
    TableSlot *before = trace.live.used > 0 ? table_find(&trace.live, id) : NULL;
    if (before != NULL) {
        trace.classes[before->value >> 32].died++;
        forget_live(before); /* its end has been hidden from us, but it has ended */
    }
    if (muted) {
        return; /* counted, since it may end in another thread, and the other way round */
    }
    if (--trace.until_next > 0) {
        trace.skipped++;
        return;
    }
    trace.until_next = draw_distance();
    if (trace.quota == 0 || trace.live.used >= trace.max_live ||
        trace.waiting + trace.live.used + 2 > trace.ring_size) {
        trace.skipped++;
        return;
    }
    uint32_t site = trace.with_sites ? find_site(class) : 0;
    /* It grows with what is in it: looked into for every object, a small one stays in the processor's cache. */
    if (table_add(&trace.live, id, (uint64_t)class << 32 | site) == NULL) {
        trace.skipped++;
        return;
    }
    trace.quota--;
    if (site != 0) {
        trace.sites[site - 1].born++;
        trace.sites[site - 1].live++;
    }
    put_event(id, class, 1);
}

/* type: what the object is at its end, or NULL when that is of no interest. */
static inline void note_death(PyTypeObject *type, uint64_t id)
{
    TableSlot *slot = trace.live.used > 0 ? table_find(&trace.live, id) : NULL;
    if (slot != NULL) {
        trace.classes[slot->value >> 32].died++;
        forget_live(slot);
        return;
    }
    if (type != NULL && (slot = table_find(&trace.by_type, (uintptr_t)type)) != NULL) {
        trace.classes[slot->value].died++;
    }
}

PyObject *hook_alloc(PyTypeObject *type, Py_ssize_t count)
{
    /* It may collect, and so run anything: whether we are still on is asked afterwards. */
    PyObject *self = plain_alloc(type, count);
    if (self != NULL && trace.mechanism == BY_HOOKS) {
        note_birth(type, self);
    }
    return self;
}

PyObject *hook_alloc_class(PyTypeObject *metaclass, Py_ssize_t count)
{
    PyObject *self = plain_alloc(metaclass, count);
    if (self != NULL && trace.mechanism == BY_HOOKS && PyInterpreterState_Get() == trace.interpreter) {
        note_class(self);
    }
    return self;
}

void hook_free_tracked(void *object)
{
    if (trace.mechanism == BY_HOOKS) {
        note_death(Py_TYPE((PyObject *)object), (uintptr_t)object);
    }
    free_tracked(object);
}

void hook_free_untracked(void *object)
{
    if (trace.mechanism == BY_HOOKS) {
        note_death(Py_TYPE((PyObject *)object), (uintptr_t)object);
    }
    free_untracked(object);
}

#if HAVE_REFTRACER
int on_reference(PyObject *object, PyRefTracerEvent event, void *Py_UNUSED(data))
{
    if (object == NULL || (event != PyRefTracer_CREATE && event != PyRefTracer_DESTROY)) {
        return 0; /* there are events that are no object's, as from 3.15 on that of the tracer's own end */
    }
    PyThreadState *thread = PyThreadState_GetUnchecked();
    if (trace.mechanism != BY_REFERENCES || thread == NULL || thread->interp != trace.interpreter) {
        return 0;
    }
    PyTypeObject *type = Py_TYPE(object);
    if (event == PyRefTracer_CREATE) {
        if (PyType_FastSubclass(type, Py_TPFLAGS_TYPE_SUBCLASS) && !muted) {
            note_class(object);
        }
        note_birth(type, object);
    }
    else {
        note_death(type, (uintptr_t)object);
    }
    return 0;
}
#endif
