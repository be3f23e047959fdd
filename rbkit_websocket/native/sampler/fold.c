#define PY_SSIZE_T_CLEAN
#include "fold.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../common/compat.h"
#include "../common/pack.h"
#include "../common/table.h"
#include "stack.h"

/* A list of values of one size. */
typedef struct {
    void *items;
    size_t count, room;
} Values;

/* Room for ``more`` values behind those that are there; NULL without memory. */
static void *values_extend(Values *values, size_t more, size_t size)
{
    if (values->room - values->count < more) {
        size_t room = values->room ? values->room : 256;
        while (room - values->count < more) {
            room *= 2;
        }
        void *items = realloc(values->items, room * size);
        if (items == NULL) {
            return NULL;
        }
        values->items = items;
        values->room = room;
    }
    void *first = (char *)values->items + values->count * size;
    values->count += more;
    return first;
}

static uint64_t mixed(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0xFF51AFD7ED558CCDu;
    return hash ^ hash >> 32;
}

/* What a value that is looked up begins with. */
typedef struct {
    uint64_t one, other;
} Key;

/* The value with this key, made with the rest of it 0 if there is none yet; NULL without memory. */
static inline __attribute__((always_inline)) void *keyed(Table *numbers, Values *values, size_t size, Key key)
{
    uint64_t hash = table_key((key.one * 0xFF51AFD7ED558CCDu) ^ key.other); /* the table mixes it */
    for (TableSlot *at = table_find(numbers, hash); at != NULL; at = table_next(numbers, at)) {
        Key *value = (Key *)((char *)values->items + at->value * size);
        if (value->one == key.one && value->other == key.other) {
            return value;
        }
    }
    Key *value = table_reserve(numbers) == 0 ? values_extend(values, 1, size) : NULL;
    if (value != NULL) {
        memset(value, 0, size);
        *value = key;
        table_put(numbers, hash, values->count - 1);
    }
    return value;
}

/* A line of a function: what those who read are told of a frame. */
typedef struct {
    Key code_line; /* the code object is borrowed from a stack */
} Place;

/* An instruction of a function, which many stacks share. */
typedef struct {
    Key code_lasti;
    uint32_t place; /* its number + 1; 0: not known yet */
} Known;

/* A stack by its lines. */
typedef struct {
    unsigned long thread;
    size_t first; /* its frames' numbers, ``depth`` of them */
    size_t depth;
} Lines;

typedef struct {
    Key lines_request; /* twice the number of the lines, + 1 if it waits; the request's name is borrowed, or None */
    int64_t wall_us, cpu_us;
    int64_t count;
} Folded;

typedef struct {
    Values places, known, numbers, lines, sums;
    Table by_place, by_frame, by_lines, by_sum; /* their numbers */
    PyObject *names;
} Fold;

/* The number of a frame's line; -1 without memory. */
static int64_t fold_frame(Fold *fold, const Frame *frame)
{
    Key code_lasti = {(uintptr_t)frame->code, (uint64_t)frame->lasti};
    Known *known = keyed(&fold->by_frame, &fold->known, sizeof *known, code_lasti);
    if (known == NULL) {
        return -1;
    }
    if (known->place == 0) {
        PyCodeObject *code = (PyCodeObject *)frame->code;
        int line = PyCode_Addr2Line(code, (int)frame->lasti);
        line = line >= 0 ? line : code->co_firstlineno > 0 ? code->co_firstlineno : 0;
        Key code_line = {(uintptr_t)code, (uint64_t)line};
        Place *place = keyed(&fold->by_place, &fold->places, sizeof *place, code_line);
        if (place == NULL) {
            return -1;
        }
        known->place = (uint32_t)(place - (Place *)fold->places.items) + 1;
    }
    return (int64_t)known->place - 1;
}

/* The number + 1 of a stack by its lines; 0 without memory. */
static size_t fold_lines(Fold *fold, const Stack *stack)
{
    size_t depth = (size_t)Py_SIZE(stack), first = fold->numbers.count;
    uint32_t *numbers = values_extend(&fold->numbers, depth + 1, sizeof *numbers); /* one too many: never nowhere */
    if (numbers == NULL || table_reserve(&fold->by_lines) < 0) {
        return 0;
    }
    fold->numbers.count--;
    uint64_t hash = mixed(stack->thread, depth);
    for (size_t i = 0; i < depth; i++) {
        int64_t place = fold_frame(fold, &stack->frames[i]);
        if (place < 0) {
            return 0;
        }
        numbers[i] = (uint32_t)place;
        hash = mixed(hash, (uint64_t)place);
    }
    hash = table_key(hash);
    for (TableSlot *at = table_find(&fold->by_lines, hash); at != NULL; at = table_next(&fold->by_lines, at)) {
        const Lines *lines = (Lines *)fold->lines.items + at->value;
        if (lines->thread == stack->thread && lines->depth == depth &&
            memcmp((uint32_t *)fold->numbers.items + lines->first, numbers, depth * sizeof *numbers) == 0) {
            fold->numbers.count = first; /* it is there already */
            return at->value + 1;
        }
    }
    Lines *lines = values_extend(&fold->lines, 1, sizeof *lines);
    if (lines == NULL) {
        return 0;
    }
    *lines = (Lines){stack->thread, first, depth};
    table_put(&fold->by_lines, hash, fold->lines.count - 1);
    return fold->lines.count;
}

/* An entry of drain()'s totals, or of another's. */
typedef struct {
    Stack *stack;
    PyObject *request; /* a name, or None */
    int64_t wall_us, cpu_us, count;
    int waiting;
} Entry;

/* Adds what was sampled of a stack; -1 with an exception. */
static int fold_add(Fold *fold, const Entry *entry)
{
    Stack *stack = entry->stack;
    PyObject *request = entry->request;
    if (request != Py_None) {
        request = PyDict_SetDefault(fold->names, request, request); /* each name one object */
    }
    if (request == NULL) {
        return -1;
    }
    if (stack->group == 0 && (stack->group = fold_lines(fold, stack)) == 0) {
        PyErr_NoMemory();
        return -1;
    }
    Key lines_request = {(stack->group - 1) * 2 + (entry->waiting != 0), (uintptr_t)request};
    Folded *sum = keyed(&fold->by_sum, &fold->sums, sizeof *sum, lines_request);
    if (sum == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    sum->wall_us += entry->wall_us;
    sum->cpu_us += entry->cpu_us;
    sum->count += entry->count;
    return 0;
}

/* The entry that an object stands for; -1 with an exception. */
static int entry_parts(PyObject *object, Entry *entry)
{
    if (!PyTuple_CheckExact(object) || PyTuple_GET_SIZE(object) != 6 ||
        !Py_IS_TYPE(PyTuple_GET_ITEM(object, 0), &StackType) ||
        !(PyTuple_GET_ITEM(object, 1) == Py_None || PyUnicode_CheckExact(PyTuple_GET_ITEM(object, 1))) ||
        !PyLong_CheckExact(PyTuple_GET_ITEM(object, 2)) || !PyLong_CheckExact(PyTuple_GET_ITEM(object, 3)) ||
        !PyLong_CheckExact(PyTuple_GET_ITEM(object, 4)) || !PyBool_Check(PyTuple_GET_ITEM(object, 5))) {
        PyErr_SetString(PyExc_TypeError,
                        "entries are (stack, name of a request or None, wall time, CPU time, count, waiting)");
        return -1;
    }
    *entry = (Entry){
        (Stack *)PyTuple_GET_ITEM(object, 0),           PyTuple_GET_ITEM(object, 1),
        PyLong_AsLongLong(PyTuple_GET_ITEM(object, 2)), PyLong_AsLongLong(PyTuple_GET_ITEM(object, 3)),
        PyLong_AsLongLong(PyTuple_GET_ITEM(object, 4)), PyTuple_GET_ITEM(object, 5) == Py_True,
    };
    if (!PyErr_Occurred() && (entry->wall_us < 0 || entry->cpu_us < 0 || entry->count < 0)) {
        PyErr_SetString(PyExc_ValueError, "weights and counts are not negative");
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* Adds a list of lists of entries; once before that with ``fold`` NULL, to check them and to forget what the stacks
 * hold of the last time. -1 with an exception. */
static int fold_all(Fold *fold, PyObject *parts)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(parts); i++) {
        PyObject *part = PyList_GET_ITEM(parts, i);
        if (!PyList_CheckExact(part)) {
            PyErr_SetString(PyExc_TypeError, "a list of lists of entries is wanted");
            return -1;
        }
        for (Py_ssize_t j = 0; j < PyList_GET_SIZE(part); j++) {
            Entry entry;
            if (entry_parts(PyList_GET_ITEM(part, j), &entry) < 0) {
                return -1;
            }
            if (fold == NULL) {
                entry.stack->group = 0;
            }
            else if (fold_add(fold, &entry) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

/* Those of the most time first; those of the same as they came. */
static int heavier(const void *one, const void *other)
{
    const Folded *first = *(Folded *const *)one, *second = *(Folded *const *)other;
    if (first->wall_us != second->wall_us) {
        return first->wall_us > second->wall_us ? -1 : 1;
    }
    return (first > second) - (first < second);
}

static int pack_stacks(Fold *fold, int cpu_clock, Bytes *out)
{
    Folded **order = malloc((fold->sums.count + 1) * sizeof *order);
    int failed = order == NULL || bytes_reserve(out, 5);
    if (!failed) {
        for (size_t i = 0; i < fold->sums.count; i++) {
            order[i] = (Folded *)fold->sums.items + i;
        }
        qsort(order, fold->sums.count, sizeof *order, heavier);
        put_array(out, fold->sums.count);
    }
    for (size_t i = 0; !failed && i < fold->sums.count; i++) {
        const Lines *lines = (Lines *)fold->lines.items + order[i]->lines_request.one / 2;
        const uint32_t *numbers = (uint32_t *)fold->numbers.items + lines->first;
        failed = bytes_reserve(out, 160);
        if (!failed) {
            put_byte(out, 0x88);
            put_text(out, "wall_us", 7);
            put_unsigned(out, (uint64_t)order[i]->wall_us);
            put_text(out, "cpu_us", 6);
            put_unsigned(out, (uint64_t)order[i]->cpu_us);
            put_text(out, "weight_us", 9);
            put_unsigned(out, (uint64_t)(cpu_clock ? order[i]->cpu_us : order[i]->wall_us));
            put_text(out, "waiting", 7);
            put_byte(out, order[i]->lines_request.one % 2 ? 0xC3 : 0xC2); /* true, false */
            put_text(out, "count", 5);
            put_unsigned(out, (uint64_t)order[i]->count);
            put_text(out, "thread", 6);
            put_unsigned(out, lines->thread);
            put_text(out, "request", 7);
            failed = put_str(out, (PyObject *)(uintptr_t)order[i]->lines_request.other) || put_text(out, "frames", 6) ||
                     bytes_reserve(out, 5 + 5 * lines->depth);
        }
        if (!failed) {
            put_array(out, lines->depth);
            for (size_t j = 0; j < lines->depth; j++) {
                put_unsigned(out, numbers[j]);
            }
        }
    }
    free(order);
    return failed ? -1 : 0;
}

static int pack_places(Fold *fold, Bytes *out)
{
    int failed = bytes_reserve(out, 5);
    if (!failed) {
        put_array(out, fold->places.count);
    }
    for (size_t i = 0; !failed && i < fold->places.count; i++) {
        const Place *place = (Place *)fold->places.items + i;
        PyCodeObject *code = (PyCodeObject *)(uintptr_t)place->code_line.one;
        failed = bytes_reserve(out, 1);
        if (!failed) {
            put_byte(out, 0x95);
            failed = put_unicode(out, code->co_name) || put_unicode(out, code->co_qualname) ||
                     put_unicode(out, code->co_filename) || bytes_reserve(out, 10);
        }
        if (!failed) {
            put_unsigned(out, code->co_firstlineno > 0 ? (uint64_t)code->co_firstlineno : 0);
            put_unsigned(out, place->code_line.other);
        }
    }
    return failed ? -1 : 0;
}

/* The threads' identities, a set. */
static PyObject *folded_threads(Fold *fold)
{
    PyObject *threads = PySet_New(NULL);
    unsigned long last = 0;
    for (size_t i = 0; threads != NULL && i < fold->lines.count; i++) {
        unsigned long thread = ((Lines *)fold->lines.items)[i].thread;
        if (i > 0 && thread == last) {
            continue;
        }
        last = thread;
        PyObject *ident = PyLong_FromUnsignedLong(thread);
        if (ident == NULL || PySet_Add(threads, ident) < 0) {
            Py_CLEAR(threads);
        }
        Py_XDECREF(ident);
    }
    return threads;
}

static void fold_free(Fold *fold)
{
    Values *values[] = {&fold->places, &fold->known, &fold->numbers, &fold->lines, &fold->sums};
    Table *tables[] = {&fold->by_place, &fold->by_frame, &fold->by_lines, &fold->by_sum};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        free(values[i]->items);
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        table_free(tables[i]);
    }
    Py_XDECREF(fold->names);
}

PyDoc_STRVAR(fold_doc,
"fold(parts, cpu_clock)\n--\n\n"
"Adds up ``parts``, a list of lists as the first that drain() gives: ``(frames, stacks, threads)``.\n\n"
"``frames``: packed, a list of ``[name, label, file, first line, line]``, each line of a function once; ``stacks``:\n"
"packed, a list of ``{wall_us, cpu_us, weight_us, waiting, count, thread, request, frames}``, those of the most time\n"
"first and each frame by its index, innermost first; ``threads``: the set of identities. ``weight_us`` is one of the\n"
"other two, as ``cpu_clock`` says.\n\n"
"Raises:\n"
"    TypeError, ValueError: something else is in there.");

static PyObject *native_fold(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *parts;
    int cpu_clock;
    if (!PyArg_ParseTuple(arguments, "O!p", &PyList_Type, &parts, &cpu_clock)) {
        return NULL;
    }
    Fold fold = {.names = PyDict_New()};
    Bytes frames = {0}, stacks = {0};
    PyObject *answer = NULL, *threads = NULL;
    if (fold.names != NULL && fold_all(NULL, parts) == 0 && fold_all(&fold, parts) == 0) {
        if (pack_stacks(&fold, cpu_clock, &stacks) < 0 || pack_places(&fold, &frames) < 0) {
            PyErr_NoMemory();
        }
        else if ((threads = folded_threads(&fold)) != NULL) {
            answer = Py_BuildValue("(y#y#O)", (char *)frames.data, (Py_ssize_t)frames.used, (char *)stacks.data,
                                   (Py_ssize_t)stacks.used, threads);
        }
    }
    Py_XDECREF(threads);
    free(frames.data);
    free(stacks.data);
    fold_free(&fold);
    return answer;
}

PyMethodDef fold_methods[] = {
    {"fold", native_fold, METH_VARARGS, fold_doc},
    {NULL, NULL, 0, NULL},
};
