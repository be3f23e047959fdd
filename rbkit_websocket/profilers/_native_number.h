/* Stacks for those who read them: their frames numbered, one number for each distinct line of each function.
 *
 * A thousand stacks of twenty frames a second are what a web application has at 10 kHz. In Python that takes a tenth of
 * the time the application could run, here a hundredth.
 */
#ifndef RBKIT_NATIVE_NUMBER_H
#define RBKIT_NATIVE_NUMBER_H

#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

#include "_native_store.h"

/* What is known of an instruction of a code object, or of a line: then ``place`` is -1 - line. */
typedef struct {
    PyObject *code; /* borrowed from the stacks; NULL: a free place */
    Py_ssize_t place;
    Py_ssize_t number;
} Numbered;

typedef struct {
    Numbered *slots;
    size_t mask, used;
    PyObject *frames; /* a list: (code, line) by number */
    PyObject *digits; /* a list: the numbers themselves, each made once */
} Numbering;

static Numbered *numbering_find(Numbered *slots, size_t mask, PyObject *code, Py_ssize_t place)
{
    uint64_t hash = ((uint64_t)(uintptr_t)code ^ (uint64_t)place << 40) * 0x9E3779B97F4A7C15u;
    size_t at = (size_t)(hash >> 32) & mask;
    while (slots[at].code != NULL && (slots[at].code != code || slots[at].place != place)) {
        at = (at + 1) & mask;
    }
    return &slots[at];
}

/* Makes room for two more; -1 with an exception. */
static int numbering_grow(Numbering *self)
{
    if (self->slots != NULL && (self->used + 2) * 2 <= self->mask) {
        return 0;
    }
    size_t mask = self->slots != NULL ? self->mask * 2 + 1 : 4095;
    Numbered *slots = calloc(mask + 1, sizeof *slots);
    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; self->slots != NULL && i <= self->mask; i++) {
        if (self->slots[i].code != NULL) {
            *numbering_find(slots, mask, self->slots[i].code, self->slots[i].place) = self->slots[i];
        }
    }
    free(self->slots);
    self->slots = slots;
    self->mask = mask;
    return 0;
}

/* The number of a code object's line, a new one if it has none yet; -1 with an exception. */
static Py_ssize_t numbering_line(Numbering *self, PyObject *code, int line)
{
    Numbered *found = numbering_find(self->slots, self->mask, code, -1 - (Py_ssize_t)line);
    if (found->code != NULL) {
        return found->number;
    }
    Py_ssize_t number = PyList_GET_SIZE(self->frames);
    PyObject *frame = Py_BuildValue("(Oi)", code, line), *digit = PyLong_FromSsize_t(number);
    int failed = frame == NULL || digit == NULL || PyList_Append(self->frames, frame) < 0 ||
                 PyList_Append(self->digits, digit) < 0;
    Py_XDECREF(frame);
    Py_XDECREF(digit);
    if (failed) {
        return -1;
    }
    *found = (Numbered){code, -1 - (Py_ssize_t)line, number};
    self->used++;
    return number;
}

static Py_ssize_t numbering_frame(Numbering *self, const Frame *frame)
{
    if (numbering_grow(self) < 0) {
        return -1;
    }
    Numbered *found = numbering_find(self->slots, self->mask, frame->code, frame->lasti);
    if (found->code != NULL) {
        return found->number;
    }
    int line = PyCode_Addr2Line((PyCodeObject *)frame->code, (int)frame->lasti);
    if (line < 0) { /* an instruction that no line of the source made */
        line = ((PyCodeObject *)frame->code)->co_firstlineno;
    }
    Py_ssize_t number = numbering_line(self, frame->code, line);
    if (number >= 0) {
        found = numbering_find(self->slots, self->mask, frame->code, frame->lasti); /* the line took a place as well */
        *found = (Numbered){frame->code, frame->lasti, number};
        self->used++;
    }
    return number;
}

/* The numbers of a stack's frames. */
static PyObject *numbering_stack(Numbering *self, const Stack *stack)
{
    Py_ssize_t depth = Py_SIZE(stack);
    PyObject *numbers = PyTuple_New(depth);
    for (Py_ssize_t i = 0; numbers != NULL && i < depth; i++) {
        Py_ssize_t number = numbering_frame(self, &stack->frames[i]);
        if (number < 0) {
            Py_CLEAR(numbers);
            break;
        }
        PyObject *digit = PyList_GET_ITEM(self->digits, number);
        Py_INCREF(digit);
        PyTuple_SET_ITEM(numbers, i, digit);
    }
    return numbers;
}

PyDoc_STRVAR(number_doc,
"number(stacks)\n--\n\n"
"Numbers the frames of stacks: ``(frames, numbers)``.\n\n"
"``frames``: list of ``(code object, line)``, each once; ``numbers``: for each stack of the list the indices of its\n"
"frames in there, innermost first, as a tuple.\n\n"
"Raises:\n"
"    TypeError: not a list of stacks.");

static PyObject *native_number(PyObject *Py_UNUSED(module), PyObject *argument)
{
    if (!PyList_Check(argument)) {
        PyErr_SetString(PyExc_TypeError, "a list of stacks is wanted");
        return NULL;
    }
    /* A copy: making objects may start a collection, and what that runs may reach the list. */
    PyObject *stacks = PyList_AsTuple(argument), *answer = NULL;
    Numbering numbering = {.frames = PyList_New(0), .digits = PyList_New(0)};
    Py_ssize_t n = stacks != NULL ? PyTuple_GET_SIZE(stacks) : 0;
    PyObject *list = PyList_New(n);
    if (stacks == NULL || list == NULL || numbering.frames == NULL || numbering.digits == NULL) {
        goto done;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *stack = PyTuple_GET_ITEM(stacks, i);
        if (!Py_IS_TYPE(stack, &StackType)) {
            PyErr_Format(PyExc_TypeError, "a stack is wanted, not %.100s", Py_TYPE(stack)->tp_name);
            goto done;
        }
        PyObject *numbers = numbering_stack(&numbering, (Stack *)stack);
        if (numbers == NULL) {
            goto done;
        }
        PyList_SET_ITEM(list, i, numbers);
    }
    answer = PyTuple_Pack(2, numbering.frames, list);
done:
    free(numbering.slots);
    Py_XDECREF(numbering.frames);
    Py_XDECREF(numbering.digits);
    Py_XDECREF(list);
    Py_XDECREF(stacks);
    return answer;
}

#endif
