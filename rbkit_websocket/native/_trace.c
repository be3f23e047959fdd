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
 * Both only where _compat.h lets them.
 *
 * The state is the process's, and one interpreter's at a time. A hook that is left behind somewhere does what the
 * function did that it stands for, so nothing breaks when it is called after the end.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>
#include <time.h>

#include "_compat.h"
#include "_native_walk.h"
#include "_trace_census.h"
#include "_trace_table.h"

enum { OFF = 0, BY_HOOKS = 1, BY_REFERENCES = 2 };

#define MAX_NEWBORN 4096
#define MAX_SITES 16384
#define MAX_NAME 256

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
    size_t refused;

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

static Trace trace;
static __thread int muted = 0;

/* What the slots of classes written in Python hold; see find_originals(). */
static allocfunc plain_alloc;
static freefunc free_tracked, free_untracked;
static destructor python_dealloc;
static int hooks_work = 0, references_work = 0;

/* -- what runs while objects are made and freed */

static inline void
put_event(uint64_t id, uint32_t class, uint32_t created)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    size_t place = trace.first + trace.waiting++;
    trace.ring[place & (trace.ring_size - 1)] =
        (Event){id, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec, class, created};
}

/* The place where the running Python code is; 0 when that cannot be told. Sites are numbered from 1. */
static uint32_t
find_site(uint32_t class)
{
    Frame frame;
#if PY_VERSION_HEX < 0x030B0000
    PyFrameObject *top = PyThreadState_Get()->frame;
    if (top == NULL) {
        return 0;
    }
    frame.code = (PyObject *)top->f_code;
    frame.lasti = (Py_ssize_t)top->f_lasti * 2;
#elif HAVE_INTERNAL_WALK
    Marker nothing = {0};
    if (!internal_walk || walk_internal(PyThreadState_Get(), &frame, 1, &nothing) != 1) {
        return 0;
    }
#else
    return 0;
#endif
    uint64_t key = ((uint64_t)(uintptr_t)frame.code * 31 + (uint64_t)frame.lasti) * 31 + class;
    key += key == 0;
    Slot *slot;
    while ((slot = table_find(&trace.by_site, key)) != NULL) {
        Site *site = &trace.sites[slot->value];
        if (site->code == frame.code && site->lasti == frame.lasti && site->class == class) {
            return (uint32_t)slot->value + 1;
        }
        key += 2; /* another place with the same key; odd steps would reach 0 */
        key += key == 0;
    }
    if (trace.site_count >= MAX_SITES) {
        return 0;
    }
    Py_INCREF(frame.code);
    trace.sites[trace.site_count] = (Site){frame.code, frame.lasti, class, 0, 0};
    table_put(&trace.by_site, key, trace.site_count);
    return (uint32_t)++trace.site_count;
}

static void
forget_live(Slot *slot)
{
    uint32_t class = (uint32_t)(slot->value >> 32), site = (uint32_t)slot->value;
    put_event(slot->key, class, 0);
    if (site != 0) {
        trace.sites[site - 1].live--;
    }
    table_remove(&trace.live, slot);
}

/* How far the next object to follow is: one in stride on average, and not always as far, or of objects that are made in
 * turns only one kind would be seen. */
static inline uint64_t
draw_distance(void)
{
    if (trace.stride == 1) {
        return 1;
    }
    trace.chance ^= trace.chance << 13; /* xorshift64, Marsaglia 2003 */
    trace.chance ^= trace.chance >> 7;
    trace.chance ^= trace.chance << 17;
    return 1 + (trace.chance >> 11) % (2 * trace.stride - 1);
}

static void
note_birth(PyTypeObject *type, PyObject *object)
{
    Slot *known = table_find(&trace.by_type, (uintptr_t)type);
    if (known == NULL) {
        return;
    }
    uint32_t class = (uint32_t)known->value;
    trace.classes[class].born++;
    uint64_t id = (uintptr_t)object;
    Slot *before = trace.live.used > 0 ? table_find(&trace.live, id) : NULL;
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
static inline void
note_death(PyTypeObject *type, uint64_t id)
{
    Slot *slot = trace.live.used > 0 ? table_find(&trace.live, id) : NULL;
    if (slot != NULL) {
        trace.classes[slot->value >> 32].died++;
        forget_live(slot);
        return;
    }
    if (type != NULL && (slot = table_find(&trace.by_type, (uintptr_t)type)) != NULL) {
        trace.classes[slot->value].died++;
    }
}

static void process_newborn(PyObject *released);

static int
newborn_call(void *Py_UNUSED(argument))
{
    trace.call_scheduled = 0;
    if (trace.mechanism != OFF && PyInterpreterState_Get() == trace.interpreter) {
        process_newborn(NULL);
    }
    return 0;
}

/* A class is being made: its slots are set later, so it is looked at between two bytecodes. */
static void
note_class(PyObject *class)
{
    if (trace.newborn_count == MAX_NEWBORN) {
        trace.newborn_lost = 1;
        return;
    }
    Py_INCREF(class);
    trace.newborn[trace.newborn_count++] = (PyTypeObject *)class;
    if (!trace.call_scheduled) {
        trace.call_scheduled = Py_AddPendingCall(newborn_call, NULL) == 0;
    }
}

static PyObject *
hook_alloc(PyTypeObject *type, Py_ssize_t count)
{
    /* It may collect, and so run anything: whether we are still on is asked afterwards. */
    PyObject *self = plain_alloc(type, count);
    if (self != NULL && trace.mechanism == BY_HOOKS) {
        note_birth(type, self);
    }
    return self;
}

static PyObject *
hook_alloc_class(PyTypeObject *metaclass, Py_ssize_t count)
{
    PyObject *self = plain_alloc(metaclass, count);
    if (self != NULL && trace.mechanism == BY_HOOKS && PyInterpreterState_Get() == trace.interpreter) {
        note_class(self);
    }
    return self;
}

static void
hook_free_tracked(void *object)
{
    if (trace.mechanism == BY_HOOKS) {
        note_death(Py_TYPE((PyObject *)object), (uintptr_t)object);
    }
    free_tracked(object);
}

static void
hook_free_untracked(void *object)
{
    if (trace.mechanism == BY_HOOKS) {
        note_death(Py_TYPE((PyObject *)object), (uintptr_t)object);
    }
    free_untracked(object);
}

#if HAVE_REFTRACER
/* Of every object of every interpreter, so it has to say no quickly. */
static int
on_reference(PyObject *object, PyRefTracerEvent event, void *Py_UNUSED(data))
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

/* -- classes */

/* Shell patterns with * alone; both are UTF-8. */
static int
matches(const char *pattern, const char *text)
{
    const char *star = NULL, *retry = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = text;
        }
        else if (*pattern == *text) {
            pattern++;
            text++;
        }
        else if (star != NULL) {
            pattern = star;
            text = ++retry;
        }
        else {
            return 0;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

/* The namespace of a class, a new reference. */
static PyObject *
namespace_of(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyType_GetDict(type);
#else
    Py_XINCREF(type->tp_dict);
    return type->tp_dict;
#endif
}

/* A new str, or NULL without an exception: __module__ of a class, where it is an exact str. */
static PyObject *
module_of(PyTypeObject *type)
{
    if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
        const char *dot = strrchr(type->tp_name, '.');
        PyObject *name = dot != NULL ? PyUnicode_DecodeUTF8(type->tp_name, dot - type->tp_name, "replace") : NULL;
        PyErr_Clear();
        return name;
    }
    PyObject *namespace = namespace_of(type);
    PyObject *module = namespace != NULL ? PyDict_GetItemString(namespace, "__module__") : NULL;
    Py_XINCREF(module);
    Py_XDECREF(namespace);
    if (module != NULL && !PyUnicode_CheckExact(module)) {
        Py_CLEAR(module);
    }
    return module;
}

/* A new str, or NULL without an exception: module.Qualified.Name, builtins bare, as class_name() of base.py has it. */
static PyObject *
name_of(PyTypeObject *type, PyObject *module)
{
    PyObject *name;
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) {
        name = ((PyHeapTypeObject *)type)->ht_qualname;
        Py_XINCREF(name);
    }
    else {
        const char *dot = strrchr(type->tp_name, '.');
        name = PyUnicode_FromString(dot != NULL ? dot + 1 : type->tp_name);
    }
    if (name != NULL && module != NULL && PyUnicode_CompareWithASCIIString(module, "builtins") != 0) {
        Py_SETREF(name, PyUnicode_FromFormat("%U.%U", module, name));
    }
    PyErr_Clear();
    return name;
}

/* The name of a class that is asked for, else NULL without an exception. */
static PyObject *
wanted_name(PyTypeObject *type)
{
    PyObject *module = module_of(type), *name = name_of(type, module);
    const char *name_text = name != NULL ? PyUnicode_AsUTF8(name) : NULL;
    const char *module_text = module != NULL ? PyUnicode_AsUTF8(module) : "builtins";
    int wanted = 0;
    for (Py_ssize_t i = 0; name_text != NULL && !wanted && i < PyTuple_GET_SIZE(trace.patterns); i++) {
        const char *pattern = PyUnicode_AsUTF8(PyTuple_GET_ITEM(trace.patterns, i));
        wanted = pattern != NULL && (matches(pattern, name_text) || (module_text && matches(pattern, module_text)));
    }
    PyErr_Clear(); /* a name with a lone surrogate */
    Py_XDECREF(module);
    if (!wanted) {
        Py_CLEAR(name);
    }
    return name;
}

static int
may_be_hooked(PyTypeObject *type)
{
    return (type->tp_flags & Py_TPFLAGS_HEAPTYPE) && type->tp_dealloc == python_dealloc &&
           type->tp_alloc == plain_alloc && (type->tp_free == free_tracked || type->tp_free == free_untracked) &&
           !PyType_IsSubtype(type, &PyType_Type) &&
           /* The class of a module may be changed to and from that of all others, which is no class of ours to touch. */
           !PyType_IsSubtype(type, &PyModule_Type);
}

static freefunc
hook_of(freefunc original)
{
    return original == free_tracked ? hook_free_tracked : original == free_untracked ? hook_free_untracked : NULL;
}

static void
set_hooks(PyTypeObject *type)
{
    type->tp_free = hook_of(type->tp_free);
    type->tp_alloc = hook_alloc;
#if PY_VERSION_HEX >= 0x030D0000
    /* Calls that have been specialized for this class make instances without tp_alloc; this undoes them. */
    PyType_Modified(type);
#endif
}

static void
remove_hooks(PyTypeObject *type)
{
    if (type->tp_alloc == hook_alloc || type->tp_alloc == hook_alloc_class) {
        type->tp_alloc = plain_alloc;
    }
    if (type->tp_free == hook_free_tracked) {
        type->tp_free = free_tracked;
    }
    else if (type->tp_free == hook_free_untracked) {
        type->tp_free = free_untracked;
    }
}

/* Enters a class; takes the name. -1 with an exception. */
static int
enter_class(PyTypeObject *type, PyObject *name)
{
    if (trace.class_count == trace.class_room) {
        size_t room = trace.class_room ? trace.class_room * 2 : 256;
        Class *classes = realloc(trace.classes, room * sizeof(Class));
        if (classes == NULL) {
            Py_XDECREF(name);
            PyErr_NoMemory();
            return -1;
        }
        trace.classes = classes;
        trace.class_room = room;
    }
    PyObject *reference = PyWeakref_NewRef((PyObject *)type, trace.on_death);
    size_t index = trace.class_count; /* after what may have run anything */
    if (reference == NULL || index >= trace.class_room ||
        table_add(&trace.by_reference, (uintptr_t)reference, index) == NULL) {
        Py_XDECREF(reference);
        Py_XDECREF(name);
        if (!PyErr_Occurred()) {
            PyErr_NoMemory();
        }
        return -1;
    }
    trace.classes[index] = (Class){.type = type, .reference = reference, .name = name};
    trace.class_count++;
    if (name != NULL && table_add(&trace.by_type, (uintptr_t)type, index) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* 1 if the class is looked at from now on, 0 if not, -1 with an exception. */
static int
consider_class(PyTypeObject *type)
{
    if (table_find(&trace.by_type, (uintptr_t)type) != NULL) {
        return 0;
    }
    if (trace.mechanism == BY_HOOKS && PyType_IsSubtype(type, &PyType_Type) && type->tp_alloc == plain_alloc) {
        /* A metaclass: its instances are classes that are born later. */
        if (enter_class(type, NULL)) {
            return -1;
        }
        type->tp_alloc = hook_alloc_class;
        return 0;
    }
    PyObject *name = wanted_name(type);
    if (name == NULL) {
        return 0;
    }
    if (trace.mechanism == BY_HOOKS && !may_be_hooked(type)) {
        trace.refused++;
        Py_DECREF(name);
        return 0;
    }
    if (enter_class(type, name)) {
        return -1;
    }
    if (trace.mechanism == BY_HOOKS) {
        set_hooks(type);
    }
    return 1;
}

/* Looks at the classes that have been made; those looked at go to the list, if there is one, to be released there. */
static void
process_newborn(PyObject *released)
{
    size_t count = trace.newborn_count;
    PyTypeObject **types = count > 0 ? malloc(count * sizeof(types[0])) : NULL;
    if (types == NULL) {
        return;
    }
    /* Taken out first: what follows may make classes, let other threads in, and even end the tracing. */
    memcpy(types, trace.newborn, count * sizeof(types[0]));
    trace.newborn_count = 0;
    for (size_t i = 0; i < count; i++) {
        PyTypeObject *type = types[i];
        int ready = (type->tp_flags & Py_TPFLAGS_READY) != 0;
        if (trace.mechanism == OFF) {
            continue;
        }
        if (ready) {
            if (consider_class(type) < 0) {
                PyErr_Clear();
            }
        }
        else if (Py_REFCNT(type) > 1 && trace.newborn_count < MAX_NEWBORN) {
            trace.newborn[trace.newborn_count++] = type; /* still being made: the next time */
            types[i] = NULL;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (types[i] != NULL && released != NULL && PyList_Append(released, (PyObject *)types[i])) {
            PyErr_Clear();
        }
        Py_XDECREF(types[i]);
    }
    free(types);
}

/* A class has gone: nothing of it is touched any more. What is left of its instances ends by their own identity. */
static PyObject *
class_died(PyObject *Py_UNUSED(module), PyObject *reference)
{
    Slot *slot = table_find(&trace.by_reference, (uintptr_t)reference);
    if (slot != NULL) {
        Class *class = &trace.classes[slot->value];
        Slot *known = class->name != NULL ? table_find(&trace.by_type, (uintptr_t)class->type) : NULL;
        if (known != NULL) {
            table_remove(&trace.by_type, known);
        }
        table_remove(&trace.by_reference, slot);
        class->type = NULL;
        Py_CLEAR(class->reference);
    }
    Py_RETURN_NONE;
}

static PyMethodDef class_died_method = {"class_died", class_died, METH_O, NULL};

/* Python compares tp_free before it lets obj.__class__ or cls.__bases__ be changed, so two classes that were alike stay
 * alike: the other one gets the hook as well, or where it must not be touched, the first one gives its own back. */
static void
make_alike(PyTypeObject *one, PyTypeObject *other)
{
    freefunc a = one->tp_free, b = other->tp_free;
    if (a == b) {
        return;
    }
    if (hook_of(a) == b || hook_of(b) == a) {
        PyTypeObject *hooked = hook_of(a) == b ? other : one, *bare = hooked == one ? other : one;
        if ((bare->tp_flags & Py_TPFLAGS_HEAPTYPE) && enter_class(bare, NULL) == 0) {
            bare->tp_free = hooked->tp_free;
            return;
        }
        PyErr_Clear();
        remove_hooks(hooked);
        trace.refused++;
    }
}

/* What is about to be changed of a class or an object. It is installed once and stays: Python knows no way back. */
static int
on_audit(const char *event, PyObject *arguments, void *Py_UNUSED(data))
{
    if (trace.mechanism == OFF || strcmp(event, "object.__setattr__") != 0 || !PyTuple_Check(arguments) ||
        PyTuple_GET_SIZE(arguments) != 3 || PyInterpreterState_Get() != trace.interpreter) {
        return 0;
    }
    PyObject *object = PyTuple_GET_ITEM(arguments, 0), *name = PyTuple_GET_ITEM(arguments, 1);
    PyObject *value = PyTuple_GET_ITEM(arguments, 2);
    if (!PyUnicode_Check(name)) {
        return 0;
    }
    if (PyUnicode_CompareWithASCIIString(name, "__module__") == 0 && PyType_Check(object)) {
        /* As collections.namedtuple does: the class belongs to this module from now on. */
        if (table_find(&trace.by_type, (uintptr_t)object) == NULL) {
            note_class(object);
        }
    }
    else if (trace.mechanism == BY_REFERENCES) {
        return 0;
    }
    else if (PyUnicode_CompareWithASCIIString(name, "__class__") == 0 && PyType_Check(value)) {
        make_alike(Py_TYPE(object), (PyTypeObject *)value);
    }
    else if (PyUnicode_CompareWithASCIIString(name, "__bases__") == 0 && PyType_Check(object) && PyTuple_Check(value)) {
        PyTypeObject *base = ((PyTypeObject *)object)->tp_base;
        for (Py_ssize_t i = 0; base != NULL && i < PyTuple_GET_SIZE(value); i++) {
            PyObject *other = PyTuple_GET_ITEM(value, i);
            if (PyType_Check(other)) {
                make_alike(base, (PyTypeObject *)other);
            }
        }
    }
    return 0;
}

/* -- the module's functions */

/* Takes down everything; what has to be released goes to the list. */
static void
take_down(PyObject *released)
{
#if HAVE_REFTRACER
    if (trace.mechanism == BY_REFERENCES) {
        void *data;
        if (PyRefTracer_GetTracer(&data) == on_reference) {
            PyRefTracer_SetTracer(NULL, NULL);
        }
    }
#endif
    trace.mechanism = OFF;
    Trace old = trace;
    int scheduled = trace.call_scheduled;
    memset(&trace, 0, sizeof trace);
    trace.call_scheduled = scheduled;
    if (PyType_Type.tp_alloc == hook_alloc_class) {
        PyType_Type.tp_alloc = plain_alloc;
    }
    for (size_t i = 0; i < old.class_count; i++) {
        if (old.classes[i].type != NULL) {
            remove_hooks(old.classes[i].type);
        }
    }
    /* From here on anything may run. */
    for (size_t i = 0; i < old.class_count; i++) {
        Py_XDECREF(old.classes[i].reference);
        Py_XDECREF(old.classes[i].name);
    }
    for (size_t i = 0; i < old.site_count; i++) {
        if (PyList_Append(released, old.sites[i].code)) {
            PyErr_Clear();
        }
        Py_DECREF(old.sites[i].code);
    }
    for (size_t i = 0; i < old.newborn_count; i++) {
        if (PyList_Append(released, (PyObject *)old.newborn[i])) {
            PyErr_Clear();
        }
        Py_DECREF(old.newborn[i]);
    }
    Py_XDECREF(old.patterns);
    Py_XDECREF(old.on_death);
    free(old.classes);
    free(old.ring);
    free(old.sites);
    table_free(&old.by_type);
    table_free(&old.by_reference);
    table_free(&old.live);
    table_free(&old.by_site);
}

PyDoc_STRVAR(start_doc,
             "start(mechanism, patterns, max_live, sites)\n\nBegins to look, at no class yet.\n\n"
             "mechanism: HOOKS or REFERENCES; patterns: a tuple of str; max_live: how many objects are followed at "
             "once, a power of two; sites: whether the place where each is made is kept.");

static PyObject *
start(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int mechanism, with_sites;
    PyObject *patterns;
    Py_ssize_t max_live;
    if (!PyArg_ParseTuple(arguments, "iO!np", &mechanism, &PyTuple_Type, &patterns, &max_live, &with_sites)) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(patterns); i++) {
        if (!PyUnicode_Check(PyTuple_GET_ITEM(patterns, i))) {
            PyErr_SetString(PyExc_TypeError, "a pattern is a str");
            return NULL;
        }
    }
    if (max_live < 16 || max_live > (1 << 24) || (max_live & (max_live - 1))) {
        PyErr_SetString(PyExc_ValueError, "max_live is a power of two, 16 to 2**24");
        return NULL;
    }
    if (trace.mechanism != OFF) {
        PyErr_SetString(PyExc_RuntimeError, "objects are being traced already in this process");
        return NULL;
    }
    if (!(mechanism == BY_HOOKS && hooks_work) && !(mechanism == BY_REFERENCES && references_work)) {
        PyErr_SetString(PyExc_RuntimeError, "this way of tracing does not work here");
        return NULL;
    }
#if HAVE_REFTRACER
    void *data;
    if (mechanism == BY_REFERENCES && PyRefTracer_GetTracer(&data) != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "another tool uses the interpreter's reference tracer");
        return NULL;
    }
#endif
    static int audited = 0;
    if (!audited) {
        if (PySys_AddAuditHook(on_audit, NULL)) {
            return NULL;
        }
        audited = 1;
    }
    PyObject *on_death = PyCFunction_New(&class_died_method, NULL);
    if (on_death == NULL) {
        return NULL;
    }
    trace.on_death = on_death;
    Py_INCREF(patterns);
    trace.patterns = patterns;
    trace.with_sites = with_sites;
    trace.max_live = (size_t)max_live;
    trace.ring_size = (size_t)max_live * 2;
    trace.stride = trace.until_next = 1;
    trace.chance = UINT64_C(0x9E3779B97F4A7C15);
    trace.quota = UINT64_MAX;
    trace.interpreter = PyInterpreterState_Get();
    trace.ring = malloc(trace.ring_size * sizeof(Event));
    trace.sites = malloc(MAX_SITES * sizeof(Site));
    if (trace.ring == NULL || trace.sites == NULL || table_make(&trace.live, 256) ||
        table_make(&trace.by_site, MAX_SITES * 2) || table_make(&trace.by_type, 1024) ||
        table_make(&trace.by_reference, 1024)) {
        PyObject *released = PyList_New(0);
        if (released != NULL) {
            take_down(released);
            Py_DECREF(released);
        }
        return PyErr_NoMemory();
    }
    trace.mechanism = mechanism;
    if (mechanism == BY_HOOKS && PyType_Type.tp_alloc == plain_alloc) {
        PyType_Type.tp_alloc = hook_alloc_class;
    }
#if HAVE_REFTRACER
    if (mechanism == BY_REFERENCES) {
        PyRefTracer_SetTracer(on_reference, NULL);
    }
#endif
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc, "stop()\n\nPuts everything back; a list of objects to be released where that may be done.");

static PyObject *
stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *released = PyList_New(0);
    if (released != NULL) {
        take_down(released);
    }
    return released;
}

PyDoc_STRVAR(add_doc, "add(classes)\n\nLooks at those in the list that the patterns name; how many are new.");

static PyObject *
add(PyObject *Py_UNUSED(module), PyObject *list)
{
    if (!PyList_Check(list)) {
        PyErr_SetString(PyExc_TypeError, "add() takes a list");
        return NULL;
    }
    long count = 0;
    for (Py_ssize_t i = 0; trace.mechanism != OFF && i < PyList_GET_SIZE(list); i++) {
        PyObject *type = PyList_GET_ITEM(list, i);
        if (PyType_Check(type) && (((PyTypeObject *)type)->tp_flags & Py_TPFLAGS_READY)) {
            Py_INCREF(type);
            int is_new = consider_class((PyTypeObject *)type);
            Py_DECREF(type);
            if (is_new < 0) {
                return NULL;
            }
            count += is_new;
        }
    }
    return PyLong_FromLong(count);
}

PyDoc_STRVAR(newborn_doc, "newborn()\n\nLooks at classes made since; a list of them, to be released where that may be done.");

static PyObject *
newborn(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *released = PyList_New(0);
    if (released != NULL && trace.mechanism != OFF) {
        process_newborn(released);
    }
    return released;
}

PyDoc_STRVAR(limit_doc,
             "limit(stride, quota)\n\nFollows one new object in stride on average, and quota of them until the next call.");

static PyObject *
limit(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    unsigned long long stride, quota;
    if (!PyArg_ParseTuple(arguments, "KK", &stride, &quota)) {
        return NULL;
    }
    trace.stride = stride > 0 ? stride : 1;
    if (trace.until_next >= 2 * trace.stride || trace.until_next == 0) {
        trace.until_next = draw_distance();
    }
    trace.quota = quota;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(drain_doc,
             "drain(most)\n\nTakes at most so many events, oldest first: (created, id, milliseconds, number of the class).");

static PyObject *
drain(PyObject *Py_UNUSED(module), PyObject *argument)
{
    Py_ssize_t most = PyLong_AsSsize_t(argument);
    if (most == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *events = PyList_New(0);
    while (events != NULL && trace.waiting > 0 && PyList_GET_SIZE(events) < most) {
        Event event = trace.ring[trace.first & (trace.ring_size - 1)];
        trace.first++;
        trace.waiting--;
        PyObject *row = Py_BuildValue("(iKdI)", (int)event.created, (unsigned long long)event.id,
                                      (double)event.at / 1e6, (unsigned int)event.class);
        if (row == NULL || PyList_Append(events, row)) {
            Py_XDECREF(row);
            Py_CLEAR(events);
            break;
        }
        Py_DECREF(row);
    }
    return events;
}

PyDoc_STRVAR(names_doc, "names(first)\n\nThe names of the classes from this number on; None for those not looked at.");

static PyObject *
names(PyObject *Py_UNUSED(module), PyObject *argument)
{
    size_t first = PyLong_AsSize_t(argument);
    if (first == (size_t)-1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *list = PyList_New(0);
    for (size_t i = first; list != NULL && i < trace.class_count; i++) {
        PyObject *name = trace.classes[i].name;
        if (PyList_Append(list, name != NULL ? name : Py_None)) {
            Py_CLEAR(list);
        }
    }
    return list;
}

PyDoc_STRVAR(counts_doc, "counts()\n\n(number of the class, born, died) since the last call, of those where anything was.");

static PyObject *
counts(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < trace.class_count; i++) {
        Class *class = &trace.classes[i];
        unsigned long long born = class->born - class->born_told, died = class->died - class->died_told;
        if (born == 0 && died == 0) {
            continue;
        }
        class->born_told += born;
        class->died_told += died;
        PyObject *row = Py_BuildValue("(nKK)", (Py_ssize_t)i, born, died);
        if (row == NULL || PyList_Append(list, row)) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
    }
    return list;
}

PyDoc_STRVAR(sites_doc,
             "sites()\n\n(number of the class, code, offset of the instruction, followed, of these alive) of each place.");

static PyObject *
sites(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < trace.site_count; i++) {
        Site site = trace.sites[i];
        PyObject *row = Py_BuildValue("(nOnKK)", (Py_ssize_t)site.class, site.code, site.lasti,
                                      (unsigned long long)site.born, (unsigned long long)site.live);
        if (row == NULL || PyList_Append(list, row)) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
    }
    return list;
}

PyDoc_STRVAR(status_doc, "status()\n\nA map of numbers: what is looked at, followed, waiting, skipped, refused.");

static PyObject *
status(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("{s:i,s:n,s:n,s:n,s:K,s:n,s:i,s:n}", "mechanism", trace.mechanism, "classes",
                         (Py_ssize_t)trace.by_type.used, "live", (Py_ssize_t)trace.live.used, "waiting",
                         (Py_ssize_t)trace.waiting, "skipped", (unsigned long long)trace.skipped, "refused",
                         (Py_ssize_t)trace.refused, "classes_missed", trace.newborn_lost, "sites",
                         (Py_ssize_t)trace.site_count);
}

PyDoc_STRVAR(mute_doc, "mute(on)\n\nWhether what the calling thread makes is left out.");

static PyObject *
mute(PyObject *Py_UNUSED(module), PyObject *argument)
{
    muted = PyObject_IsTrue(argument) == 1;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"start", start, METH_VARARGS, start_doc},
    {"stop", stop, METH_NOARGS, stop_doc},
    {"add", add, METH_O, add_doc},
    {"newborn", newborn, METH_NOARGS, newborn_doc},
    {"limit", limit, METH_VARARGS, limit_doc},
    {"drain", drain, METH_O, drain_doc},
    {"names", names, METH_O, names_doc},
    {"counts", counts, METH_NOARGS, counts_doc},
    {"sites", sites, METH_NOARGS, sites_doc},
    {"status", status, METH_NOARGS, status_doc},
    {"mute", mute, METH_O, mute_doc},
#if HAVE_LISTS
    {"census_begin", census_begin, METH_NOARGS, census_begin_doc},
    {"census_step", census_step, METH_O, census_step_doc},
    {"census_end", census_end, METH_NOARGS, census_end_doc},
#endif
    {NULL, NULL, 0, NULL},
};

/* What type.__new__ puts into the slots, from a class made for it; whether that is what is known. */
static int
find_originals(void)
{
#if HAVE_HOOKS
    if (!tested_version_runs()) {
        return 0;
    }
    PyObject *made = PyObject_CallFunction((PyObject *)&PyType_Type, "s(){}", "Made");
    if (made == NULL) {
        PyErr_Clear();
        return 0;
    }
    PyTypeObject *type = (PyTypeObject *)made;
    plain_alloc = type->tp_alloc;
    python_dealloc = type->tp_dealloc;
    free_tracked = type->tp_free;
    free_untracked = PyBaseObject_Type.tp_free;
    Py_DECREF(made);
    return free_tracked != free_untracked && PyBaseObject_Type.tp_alloc == plain_alloc &&
           PyType_Type.tp_alloc == plain_alloc && python_dealloc != PyBaseObject_Type.tp_dealloc;
#else
    return 0;
#endif
}

static int
module_exec(PyObject *module)
{
    if (trace.mechanism == OFF) { /* else they are the first interpreter's, and known */
        hooks_work = find_originals();
        references_work = HAVE_REFTRACER && tested_version_runs();
        internal_walk = walks_agree();
#if HAVE_LISTS
        lists_are_known = check_lists();
#endif
    }
    int sites_work = PY_VERSION_HEX < 0x030B0000 || internal_walk;
    int census_works = 0;
#if HAVE_LISTS
    census_works = lists_are_known;
#endif
    return PyModule_AddIntConstant(module, "HOOKS", BY_HOOKS) ||
           PyModule_AddIntConstant(module, "REFERENCES", BY_REFERENCES) ||
           PyModule_AddIntConstant(module, "CAN_HOOK", hooks_work) ||
           PyModule_AddIntConstant(module, "CAN_REFTRACE", references_work) ||
           PyModule_AddIntConstant(module, "CAN_SITE", sites_work) ||
           PyModule_AddIntConstant(module, "TESTED", tested_version_runs()) ||
           PyModule_AddStringConstant(module, "TESTED_VERSIONS", TESTED_VERSIONS) ||
           PyModule_AddStringConstant(module, "BUILT_FOR", PY_VERSION) ||
           PyModule_AddIntConstant(module, "CAN_COUNT", census_works);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_trace",
    .m_doc = "Objects as they are made and freed, and how many there are.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__trace(void)
{
    return PyModuleDef_Init(&definition);
}
