#include "stack.h"

#include <stddef.h>
#include <string.h>

static void stack_dealloc(PyObject *self)
{
    Stack *stack = (Stack *)self;
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        Py_DECREF(stack->frames[i].code);
    }
    PyObject_Free(self);
}

static PyObject *stack_codes(PyObject *self, void *Py_UNUSED(closure))
{
    Py_ssize_t depth = Py_SIZE(self);
    PyObject *codes = PyTuple_New(depth);
    for (Py_ssize_t i = 0; codes != NULL && i < depth; i++) {
        PyObject *code = ((Stack *)self)->frames[i].code;
        Py_INCREF(code);
        PyTuple_SET_ITEM(codes, i, code);
    }
    return codes;
}

static PyObject *stack_instructions(PyObject *self, void *Py_UNUSED(closure))
{
    Py_ssize_t depth = Py_SIZE(self);
    PyObject *instructions = PyTuple_New(depth);
    for (Py_ssize_t i = 0; instructions != NULL && i < depth; i++) {
        PyObject *lasti = PyLong_FromSsize_t(((Stack *)self)->frames[i].lasti);
        if (lasti == NULL) {
            Py_CLEAR(instructions);
            break;
        }
        PyTuple_SET_ITEM(instructions, i, lasti);
    }
    return instructions;
}

static PyObject *stack_thread(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(((Stack *)self)->thread);
}

static PyGetSetDef stack_attributes[] = {
    {"codes", stack_codes, NULL, "the code objects, innermost first", NULL},
    {"instructions", stack_instructions, NULL, "f_lasti of each frame", NULL},
    {"thread", stack_thread, NULL, "the thread's identity", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject StackType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "rbkit_websocket.native._native.Stack",
    .tp_basicsize = offsetof(Stack, frames),
    .tp_itemsize = sizeof(Frame),
    .tp_dealloc = stack_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "A stack of one thread; compared by identity.",
    .tp_getset = stack_attributes,
};

Stack *stack_new(unsigned long thread, const Frame *frames, int depth)
{
    Stack *stack = PyObject_Malloc(offsetof(Stack, frames) + (size_t)depth * sizeof *frames);
    if (stack == NULL) {
        return NULL;
    }
    PyObject_InitVar((PyVarObject *)stack, &StackType, depth);
    stack->thread = thread;
    stack->rest = (Weight){0, 0};
    stack->sums = stack->group = 0;
    stack->kept = 0;
    memcpy(stack->frames, frames, (size_t)depth * sizeof *frames);
    for (int i = 0; i < depth; i++) {
        Py_INCREF(frames[i].code);
    }
    return stack;
}

PyDoc_STRVAR(stack_doc,
"stack(thread, frames)\n--\n\n"
"A stack for fold() from what somebody else has seen: code object, ``f_lasti``, code object, ... innermost first; the\n"
"innermost 257 frames of more.\n\n"
"Raises:\n"
"    TypeError, OverflowError: something else is in there.");

static PyObject *native_stack(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    unsigned long thread;
    PyObject *parts;
    if (!PyArg_ParseTuple(arguments, "kO!", &thread, &PyTuple_Type, &parts)) {
        return NULL;
    }
    Frame frames[MAX_DEPTH];
    int depth = 0;
    for (Py_ssize_t i = 0, size = PyTuple_GET_SIZE(parts); i < size && depth < MAX_DEPTH; i += 2) {
        PyObject *code = PyTuple_GET_ITEM(parts, i), *lasti = i + 1 < size ? PyTuple_GET_ITEM(parts, i + 1) : NULL;
        if (!PyCode_Check(code) || lasti == NULL || !PyLong_CheckExact(lasti)) {
            PyErr_SetString(PyExc_TypeError, "frames are a code object and a number each");
            return NULL;
        }
        frames[depth].code = code;
        frames[depth++].lasti = PyLong_AsSsize_t(lasti);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    Stack *stack = stack_new(thread, frames, depth);
    return stack != NULL ? (PyObject *)stack : PyErr_NoMemory();
}

PyMethodDef stack_methods[] = {
    {"stack", native_stack, METH_VARARGS, stack_doc},
    {NULL, NULL, 0, NULL},
};
