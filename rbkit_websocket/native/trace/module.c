/* The module: what Python calls. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "../common/compat.h"
#include "../common/frames.h"
#include "../common/gc_lists.h"
#include "census.h"
#include "classes.h"
#include "events.h"
#include "hooks.h"

static int hooks_work = 0, references_work = 0;

/* Takes down everything; what has to be released goes to the list. */
static void take_down(PyObject *released)
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
    Py_XDECREF(old.unseen);
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

static PyObject *start(PyObject *Py_UNUSED(module), PyObject *arguments)
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
    PyObject *on_death = PyCFunction_New(&class_died_method, NULL), *unseen = PySet_New(NULL);
    if (on_death == NULL || unseen == NULL) {
        Py_XDECREF(on_death);
        Py_XDECREF(unseen);
        return NULL;
    }
    trace.on_death = on_death;
    Py_INCREF(patterns);
    trace.patterns = patterns;
    trace.unseen = unseen;
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

static PyObject *stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *released = PyList_New(0);
    if (released != NULL) {
        take_down(released);
    }
    return released;
}

PyDoc_STRVAR(add_doc, "add(classes)\n\nLooks at those in the list that the patterns name; how many are new.");

static PyObject *add(PyObject *Py_UNUSED(module), PyObject *list)
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

static PyObject *newborn(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *released = PyList_New(0);
    if (released != NULL && trace.mechanism != OFF) {
        process_newborn(released);
    }
    return released;
}

PyDoc_STRVAR(limit_doc,
             "limit(stride, quota)\n\nFollows one new object in stride on average, and quota of them until the next call.");

static PyObject *limit(PyObject *Py_UNUSED(module), PyObject *arguments)
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

static PyObject *drain(PyObject *Py_UNUSED(module), PyObject *argument)
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

static PyObject *names(PyObject *Py_UNUSED(module), PyObject *argument)
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

static PyObject *counts(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
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

static PyObject *sites(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
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

static PyObject *status(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("{s:i,s:n,s:n,s:n,s:K,s:n,s:i,s:n}", "mechanism", trace.mechanism, "classes",
                         (Py_ssize_t)trace.by_type.used, "live", (Py_ssize_t)trace.live.used, "waiting",
                         (Py_ssize_t)trace.waiting, "skipped", (unsigned long long)trace.skipped, "refused",
                         (Py_ssize_t)trace.refused, "classes_missed", trace.newborn_lost, "sites",
                         (Py_ssize_t)trace.site_count);
}

PyDoc_STRVAR(unseen_doc, "unseen()\n\nNames of classes asked for whose base makes or frees their objects past the hooks.");

static PyObject *unseen(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return trace.unseen != NULL ? PySequence_List(trace.unseen) : PyList_New(0);
}

PyDoc_STRVAR(mute_doc, "mute(on)\n\nWhether what the calling thread makes is left out.");

static PyObject *mute(PyObject *Py_UNUSED(module), PyObject *argument)
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
    {"unseen", unseen, METH_NOARGS, unseen_doc},
    {"mute", mute, METH_O, mute_doc},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    if (trace.mechanism == OFF) { /* else they are the first interpreter's, and known */
        int release = release_that_runs();
        hooks_work = find_originals();
        references_work = HAVE_REFTRACER && release != RELEASE_UNKNOWN;
        internal_walk = walks_agree();
        lists_are_known = check_lists();
        if (release == RELEASE_NEWER && !(hooks_work && internal_walk >= HAVE_INTERNAL_WALK && lists_are_known)) {
            hooks_work = references_work = internal_walk = lists_are_known = 0;
        }
    }
    int sites_work = innermost_is_known();
#if HAVE_LISTS
    if (PyModule_AddFunctions(module, census_methods)) {
        return -1;
    }
#endif
    return PyModule_AddIntConstant(module, "HOOKS", BY_HOOKS) ||
           PyModule_AddIntConstant(module, "REFERENCES", BY_REFERENCES) ||
           PyModule_AddIntConstant(module, "CAN_HOOK", hooks_work) ||
           PyModule_AddIntConstant(module, "CAN_REFTRACE", references_work) ||
           PyModule_AddIntConstant(module, "CAN_SITE", sites_work) ||
           PyModule_AddIntConstant(module, "RELEASE", release_that_runs()) ||
           PyModule_AddStringConstant(module, "TESTED_RELEASES", TESTED_RELEASES) ||
           PyModule_AddIntConstant(module, "CAN_COUNT", lists_are_known);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, INTERPRETER_SLOT{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_trace", .m_doc = "Objects as they are made and freed, and how many there are.",
    .m_methods = methods,  .m_slots = slots,
};

PyMODINIT_FUNC PyInit__trace(void)
{
    return PyModuleDef_Init(&definition);
}
