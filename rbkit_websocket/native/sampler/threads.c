#include "threads.h"

PyDoc_STRVAR(frames_doc,
"frames()\n--\n\n"
"A dictionary of the innermost frame of each thread of this interpreter, by the thread's identity.");

static PyObject *native_frames(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    PyObject *found = PyDict_New();
    /* Frames get objects. A collection would run finalizers, and so let the list of threads change under us. */
    int collecting = PyGC_Disable();
    for (PyThreadState *tstate = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
         found != NULL && tstate != NULL; tstate = PyThreadState_Next(tstate)) {
        PyObject *frame = (PyObject *)PyThreadState_GetFrame(tstate);
        if (frame == NULL) {
            continue;
        }
        PyObject *ident = PyLong_FromUnsignedLong(tstate->thread_id);
        if (ident == NULL || PyDict_SetItem(found, ident, frame) < 0) {
            Py_CLEAR(found);
        }
        Py_XDECREF(ident);
        Py_DECREF(frame);
    }
    if (collecting) {
        PyGC_Enable();
    }
    return found;
}

PyDoc_STRVAR(alone_doc, "alone()\n--\n\nWhether there is no other interpreter in this process.");

static PyObject *native_alone(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    /* A new one becomes the head of the list. The list is not walked: another thread may free one meanwhile. */
    return PyBool_FromLong(PyInterpreterState_Head() == PyInterpreterState_Main());
}

PyMethodDef threads_methods[] = {
    {"frames", native_frames, METH_NOARGS, frames_doc},
    {"alone", native_alone, METH_NOARGS, alone_doc},
    {NULL, NULL, 0, NULL},
};
