#include "walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/compat.h"

#define PROGRESS_EVERY 16384
#define MAGIC UINT64_C(0x72626b6974686561)

static int visit(PyObject *object, void *arg)
{
    Walk *walk = arg;
    if (object == NULL) {
        return 0;
    }
    if (UNLIKELY((walk->error = objects_push(&walk->references, object)))) {
        return 1;
    }
    return 0;
}

static size_t scatter(uintptr_t value)
{
    return (size_t)((uint64_t)value * UINT64_C(0x9e3779b97f4a7c15) >> 29);
}

/* Each reference once, in the order of the first. */
static int unique_references(Walk *walk)
{
    PyObject **items = walk->references.items;
    size_t count = walk->references.count, kept = 0;
    if (count <= 12) {
        for (size_t i = 0; i < count; i++) {
            size_t j = 0;
            while (j < kept && items[j] != items[i]) {
                j++;
            }
            if (j == kept) {
                items[kept++] = items[i];
            }
        }
        walk->references.count = kept;
        return 0;
    }
    if (walk->scratch == NULL || walk->scratch_mask < count * 2) {
        size_t mask = 1023;
        while (mask < count * 2) {
            mask = mask * 2 + 1;
        }
        uintptr_t *scratch = calloc(mask + 1, sizeof(uintptr_t));
        if (scratch == NULL) {
            return ENOMEM;
        }
        free(walk->scratch);
        walk->scratch = scratch;
        walk->scratch_mask = mask;
    }
    /* Only as much of the table as this object needs, so that clearing it costs in proportion. */
    size_t mask = 63;
    while (mask < count * 2) {
        mask = mask * 2 + 1;
    }
    for (size_t i = 0; i < count; i++) {
        /* Neighbours in memory stay neighbours in the table: a list's items were mostly made one after the other. */
        uintptr_t address = (uintptr_t)items[i];
        size_t position = ((address >> 4) + scatter(address >> 24)) & mask;
        while (walk->scratch[position] != 0 && walk->scratch[position] != (uintptr_t)items[i]) {
            position = (position + 1) & mask;
        }
        if (walk->scratch[position] == 0) {
            walk->scratch[position] = (uintptr_t)items[i];
            items[kept++] = items[i];
        }
    }
    walk->references.count = kept;
    memset(walk->scratch, 0, (mask + 1) * sizeof(uintptr_t));
    return 0;
}

/* Keys 6 and 7, each only if it is known: file is a str or NULL, line below 0 if unknown. */
static int put_file_and_line(Bytes *out, PyObject *file, long line, unsigned *fields)
{
    int error;
    if (file == NULL || !PyUnicode_CheckExact(file)) {
        return 0;
    }
    if ((error = bytes_reserve(out, 1))) {
        return error;
    }
    put_byte(out, 6);
    *fields += 1;
    if ((error = put_str(out, file)) || (error = bytes_reserve(out, 10))) {
        return error;
    }
    if (line >= 0) {
        put_byte(out, 7);
        put_unsigned(out, (uint64_t)line);
        *fields += 1;
    }
    return 0;
}

static int put_code(Bytes *out, PyObject *object, unsigned *fields)
{
    if (object == NULL || !PyCode_Check(object)) {
        return 0;
    }
    PyCodeObject *code = (PyCodeObject *)object;
    return put_file_and_line(out, code->co_filename, code->co_firstlineno, fields);
}

/* File and line of the object; `fields` grows by as many entries as are written. */
static int put_place(Walk *walk, Kind *kind, PyObject *object, unsigned *fields)
{
    Bytes *out = &walk->output.bytes;
    PyObject *code = NULL, *file = NULL;
    long line = -1;
    int error;
    switch (kind->placed) {
    case PLACE_CODE:
        return put_code(out, object, fields);
    case PLACE_FUNCTION:
        return put_code(out, PyFunction_GET_CODE(object), fields);
    case PLACE_FRAME:
        code = (PyObject *)PyFrame_GetCode((PyFrameObject *)object);
        break;
    case PLACE_ATTRIBUTE:
        code = PyObject_GetAttrString(object, kind->attribute);
        break;
    case PLACE_MODULE:
        file = module_file(object);
        break;
    case PLACE_CLASS:
        file = place_of_class(&walk->types.modules, (PyTypeObject *)object, &line);
        break;
    default:
        break;
    }
    if (kind->placed == PLACE_FRAME || kind->placed == PLACE_ATTRIBUTE) {
        if (code == NULL) {
            PyErr_Clear();
        }
        error = put_code(out, code, fields);
        Py_XDECREF(code);
        return error;
    }
    return put_file_and_line(out, file, line, fields);
}

void report(Walk *walk, uint64_t kind, uint64_t value)
{
    if (walk->report >= 0) {
        uint64_t record[2] = {kind, value};
        /* A full pipe drops it: nobody has looked for a while. A closed one ends us by SIGPIPE, which is meant. */
        ssize_t ignored = write(walk->report, record, sizeof record);
        (void)ignored;
    }
}

/* Where a chunk begins; and that makes a good moment for what has to be done now and then. */
static int begin_chunk(Walk *walk)
{
    int error = bytes_reserve(&walk->index, sizeof(uint64_t));
    if (error) {
        return error;
    }
    if (walk->output.bytes.used >= OUTPUT_SIZE && (error = output_flush(&walk->output))) {
        return error;
    }
    uint64_t position = walk->output.written + walk->output.bytes.used;
    memcpy(walk->index.data + walk->index.used, &position, sizeof position);
    walk->index.used += sizeof position;
    return 0;
}

int dump_object(Walk *walk, PyObject *object)
{
    Bytes *out = &walk->output.bytes;
    Kind *kind = kind_of(&walk->types, Py_TYPE(object));
    int error;
    if (kind == NULL) {
        return ENOMEM;
    }
    if (walk->count % OBJECTS_PER_CHUNK == 0 && (error = begin_chunk(walk))) {
        return error;
    }
    walk->references.count = 0;
    if (kind->collected == GC_ALWAYS || (kind->collected == GC_ASK && PyObject_IS_GC(object))) {
        kind->type->tp_traverse(object, visit, walk);
        if (walk->error) {
            return walk->error;
        }
    }
    if (walk->references.count > 1 && (error = unique_references(walk))) {
        return error;
    }
    size_t count = walk->references.count;
    if ((error = bytes_reserve(out, 128 + kind->name.used + kind->place.used + 9 * count))) {
        return error;
    }
    /* What is not known is left out, and what is always known comes first: the desktop client reads up to a nil. */
    size_t head = out->used;
    unsigned fields = 2;
    put_byte(out, 0);
    put_byte(out, 3);
    put_id(out, object);
    if (kind->name.data[0] != 0xc0) {
        fields++;
        put_byte(out, 4);
        memcpy(out->data + out->used, kind->name.data, kind->name.used);
        out->used += kind->name.used;
    }
    put_byte(out, 5);
    put_array(out, count);
    for (size_t i = 0; i < count; i++) {
        PyObject *referent = walk->references.items[i];
        put_id(out, referent);
        int fresh = seen_mark(&walk->seen, referent);
        if (fresh && (fresh < 0 || objects_push(&walk->waiting, referent))) {
            return ENOMEM;
        }
    }
    Py_ssize_t size = size_of(kind, object);
    if (size >= 0) {
        fields++;
        put_byte(out, 8);
        put_unsigned(out, (uint64_t)size);
    }
    if (kind->placed &&
        ((error = put_place(walk, kind, object, &fields)) || (error = bytes_reserve(out, 32 + kind->place.used)))) {
        return error;
    }
    if (kind->fields) {
        fields += kind->fields;
        memcpy(out->data + out->used, kind->place.data, kind->place.used);
        out->used += kind->place.used;
    }
    out->data[head] = (unsigned char)(0x80 | fields);
    if (++walk->count % PROGRESS_EVERY == 0) {
        report(walk, REPORT_PROGRESS, walk->count);
    }
    return 0;
}

int write_end(Walk *walk)
{
    int error = output_flush(&walk->output);
    uint64_t end = walk->output.written;
    uint64_t trailer[4] = {MAGIC, walk->count, walk->index.used / sizeof(uint64_t), end};
    if (error || (error = write_all(walk->output.file, walk->index.data, walk->index.used)) ||
        (error = write_all(walk->output.file, (unsigned char *)&end, sizeof end))) {
        return error;
    }
    return write_all(walk->output.file, (unsigned char *)trailer, sizeof trailer);
}

void walk_free(Walk *walk)
{
    types_free(&walk->types);
    seen_free(&walk->seen);
    free(walk->roots.items);
    free(walk->waiting.items);
    free(walk->references.items);
    free(walk->scratch);
    free(walk->output.bytes.data);
    free(walk->index.data);
}
