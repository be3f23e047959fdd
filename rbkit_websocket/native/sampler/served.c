#include "served.h"

#define MAX_KNOWN 1000

Servers V;

/* What a dictionary or the like has; a new reference, or NULL without an exception. */
static PyObject *item_of(PyObject *mapping, PyObject *key)
{
    PyObject *item;
    if (PyDict_Check(mapping)) {
        item = PyDict_GetItemWithError(mapping, key); /* of a kind of dictionary no method is called */
        Py_XINCREF(item);
    }
    else {
        item = PyObject_GetItem(mapping, key);
    }
    if (item == NULL) {
        PyErr_Clear();
    }
    return item;
}

/* A variable, or what the instance in it has itself: a class may have properties, and they run somebody's code. */
static PyObject *value_of(PyObject *variables, const Variable *where)
{
    PyObject *found = item_of(variables, where->name);
    if (found == NULL || PyUnicode_GET_LENGTH(where->attribute) == 0) {
        return found;
    }
    PyObject *attributes = PyObject_GenericGetDict(found, NULL), *value = NULL;
    if (attributes == NULL) {
        PyErr_Clear();
    }
    else {
        value = item_of(attributes, where->attribute);
        Py_DECREF(attributes);
    }
    Py_DECREF(found);
    return value;
}

/* The frame so far from a thread's innermost one, a new reference. */
static PyObject *frame_at(PyThreadState *tstate, int depth)
{
    PyFrameObject *frame = PyThreadState_GetFrame(tstate);
    while (frame != NULL && depth-- > 0) {
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    return (PyObject *)frame;
}

/* The object that stands for these values. Borrowed: it stays until the next one is asked for. */
static PyObject *known_by(PyObject *values)
{
    if (V.known == NULL && (V.known = PyDict_New()) == NULL) {
        return NULL;
    }
    PyObject *found = PyDict_GetItemWithError(V.known, values);
    if (found != NULL || PyErr_Occurred()) {
        return found;
    }
    if (PyDict_GET_SIZE(V.known) >= MAX_KNOWN) {
        PyDict_Clear(V.known); /* samples keep what they need */
    }
    PyObject *made = PyObject_CallOneArg(V.kind, values);
    if (made != NULL && PyDict_SetItem(V.known, values, made) == 0) {
        found = made;
    }
    Py_XDECREF(made);
    return found;
}

/* What is kept of an environ, a new reference. */
static PyObject *told_by(PyObject *environ)
{
    Py_ssize_t size = PyTuple_GET_SIZE(V.keys);
    PyObject *values = PyTuple_New(size);
    for (Py_ssize_t i = 0; values != NULL && i < size; i++) {
        PyObject *value = item_of(environ, PyTuple_GET_ITEM(V.keys, i));
        if (value == NULL || !PyUnicode_CheckExact(value)) {
            Py_XDECREF(value);
            value = Py_None;
            Py_INCREF(value);
        }
        PyTuple_SET_ITEM(values, i, value);
    }
    return values;
}

PyObject *streamed(PyThreadState *tstate, const Marker *found)
{
    const Served *served = &V.served[found->server - 1];
    PyObject *frame = found->server_frame, *variables = NULL, *request = NULL;
    Py_XINCREF(frame);
    if (frame == NULL && tstate != NULL) {
        frame = frame_at(tstate, found->server_depth);
    }
    if (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode((PyFrameObject *)frame);
        if ((PyObject *)code == V.codes[found->server - 1]) {
            variables = PyObject_GetAttrString(frame, "f_locals");
        }
        Py_DECREF(code);
    }
    if (variables != NULL) {
        PyObject *environ = value_of(variables, &served->environ), *body = value_of(variables, &served->body);
        /* No body yet: that is somebody before the middleware. */
        if (environ != NULL && PyDict_Check(environ) && body != NULL && body != Py_None) {
            PyObject *values = told_by(environ);
            request = values != NULL ? known_by(values) : NULL;
            Py_XDECREF(values);
        }
        Py_XDECREF(environ);
        Py_XDECREF(body);
        Py_DECREF(variables);
    }
    Py_XDECREF(frame);
    if (request == NULL) {
        PyErr_Clear();
    }
    return request;
}

void forget_served(void)
{
    if (V.known != NULL) {
        PyDict_Clear(V.known);
    }
}

int set_served(PyObject *functions, PyObject *keys, PyObject *kind)
{
    Py_ssize_t n = PyTuple_GET_SIZE(functions);
    PyObject *codes[MAX_SERVERS];
    Served served[MAX_SERVERS];
    if (n > MAX_SERVERS || !PyType_IsSubtype((PyTypeObject *)kind, &PyTuple_Type)) {
        PyErr_SetString(PyExc_ValueError, "too many functions, or the kind is no tuple");
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        Served *to = &served[i];
        PyObject *function = PyTuple_GET_ITEM(functions, i);
        if (!PyTuple_Check(function)) {
            PyErr_SetString(PyExc_TypeError, "a function is a tuple");
            return -1;
        }
        if (!PyArg_ParseTuple(function, "O!UUUU", &PyCode_Type, &codes[i], &to->environ.name, &to->environ.attribute,
                              &to->body.name, &to->body.attribute)) {
            return -1;
        }
    }
    V.filter = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        V.filter |= bit_of(codes[i]);
        V.codes[i] = codes[i];
        V.served[i] = served[i];
    }
    V.n = (int)n;
    Py_INCREF(functions);
    Py_XSETREF(V.functions, functions);
    Py_INCREF(keys);
    Py_XSETREF(V.keys, keys);
    Py_INCREF(kind);
    Py_XSETREF(V.kind, kind);
    forget_served();
    return 0;
}
