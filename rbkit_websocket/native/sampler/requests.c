#include "requests.h"

#include "served.h"
#include "state.h"

Marker new_marker(void)
{
    return (Marker){.code = config.marker, .servers = V.codes, .n_servers = V.n, .filter = V.filter};
}

PyObject *request_of(PyThreadState *tstate, const Marker *found)
{
    if (!found->marked) {
        return found->server != 0 ? streamed(tstate, found) : NULL;
    }
    PyObject *request = NULL;
    if (found->frame != NULL && config.tracked != NULL) {
        PyObject *identity = PyLong_FromVoidPtr(found->frame);
        request = identity != NULL ? PyDict_GetItemWithError(config.tracked, identity) : NULL;
        Py_XDECREF(identity);
        if (request == NULL) {
            PyErr_Clear();
        }
    }
    return request;
}

PyDoc_STRVAR(set_marker_doc,
"set_marker(code, tracked)\n--\n\n"
"Has samples tell their request: that of the outermost frame which runs ``code``. With None there are none.\n\n"
"Args:\n"
"    code: a code object.\n"
"    tracked: the object that stands for a request, by the ``id()`` of its frame; it has an attribute ``name``.");

static PyObject *native_set_marker(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *code, *tracked;
    if (!PyArg_ParseTuple(arguments, "OO!", &code, &PyDict_Type, &tracked)) {
        return NULL;
    }
    if (code != Py_None && !PyCode_Check(code)) {
        PyErr_SetString(PyExc_TypeError, "the marker is a code object or None");
        return NULL;
    }
    if (code == Py_None) {
        code = tracked = NULL;
    }
    Py_XINCREF(code);
    Py_XINCREF(tracked);
    Py_XSETREF(config.marker, code);
    Py_XSETREF(config.tracked, tracked);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_servers_doc,
"set_servers(functions, keys, kind)\n--\n\n"
"Has samples tell the request whose body a web server's function sends, where no marker is on the stack.\n\n"
"Args:\n"
"    functions: for each its code, where its variable has the request's environ, and where it has the body: a name and\n"
"        that of an attribute, or \"\", each.\n"
"    keys: of the environ: what is kept of a request.\n"
"    kind: a subclass of tuple that adds nothing but an attribute ``name``, and makes that of these values; None where\n"
"        there is no text.");

static PyObject *native_set_servers(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *functions, *keys, *kind;
    if (!PyArg_ParseTuple(arguments, "O!O!O!", &PyTuple_Type, &functions, &PyTuple_Type, &keys, &PyType_Type, &kind) ||
        set_served(functions, keys, kind) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef requests_methods[] = {
    {"set_marker", native_set_marker, METH_VARARGS, set_marker_doc},
    {"set_servers", native_set_servers, METH_VARARGS, set_servers_doc},
    {NULL, NULL, 0, NULL},
};
