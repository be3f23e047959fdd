/* The heap, written to a file: by a walk that holds the interpreter's lock, in this process or in a forked child.
 *
 * Every object that the collector knows and whatever can be reached from those, each once, in chunks of 1000 packed
 * objects (see heap.py for what is in them). No code of the application runs: types are read through their slots and
 * namespaces, sizes come from methods written in C. The walk makes no Python object that outlives a step, and none that
 * the collector knows; it changes no reference count of what it walks, so that a forked child leaves the pages that it
 * shares with its parent as they are.
 *
 * The file: the chunks, then an index of uint64 (where each chunk begins, and where the last one ends), then
 * {magic, objects, chunks, offset of the index} as uint64, everything in the machine's own byte order.
 *
 * Base is the public C API. What is private stands behind the versions it was tested on, and is checked when the module
 * is loaded: the collector's lists. Where that does not hold, PyUnstable_GC_VisitObjects or gc.get_objects() is used.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030B0000
#include <frameobject.h>
#endif

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#define CAN_FORK 1
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#else
#define CAN_FORK 0
#endif

#if PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED) && !defined(PYPY_VERSION)
#define KNOWN_LISTS 1
#else
#define KNOWN_LISTS 0
#endif

#if defined(__GNUC__) || defined(__clang__)
#define PREFETCH(address) __builtin_prefetch(address)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#else
#define PREFETCH(address) ((void)0)
#define UNLIKELY(condition) (condition)
#endif

#define OBJECTS_PER_CHUNK 1000
#define OUTPUT_SIZE ((size_t)1 << 18)
#define PROGRESS_EVERY 16384
#define MAGIC UINT64_C(0x72626b6974686561)

/* What goes through a forked child's pipe: {kind, value} as uint64. */
enum { REPORT_ROOTS = 1, REPORT_PROGRESS = 2, REPORT_DONE = 3, REPORT_ERROR = 4 };

/* -- bytes that grow, and the file they go to */

typedef struct {
    unsigned char *data;
    size_t used, room;
} Bytes;

typedef struct {
    Bytes bytes;
    int file;
    uint64_t written;
} Output;

static int
bytes_reserve(Bytes *bytes, size_t more)
{
    if (bytes->room - bytes->used >= more) {
        return 0;
    }
    size_t room = bytes->room ? bytes->room : 256;
    while (room - bytes->used < more) {
        room *= 2;
    }
    unsigned char *data = realloc(bytes->data, room);
    if (data == NULL) {
        return ENOMEM;
    }
    bytes->data = data;
    bytes->room = room;
    return 0;
}

static int
write_all(int file, const unsigned char *data, size_t size)
{
    while (size > 0) {
        ssize_t count = write(file, data, size);
        if (count < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        data += count;
        size -= (size_t)count;
    }
    return 0;
}

static int
output_flush(Output *output)
{
    int error = write_all(output->file, output->bytes.data, output->bytes.used);
    output->written += output->bytes.used;
    output->bytes.used = 0;
    return error;
}

/* -- MessagePack. Each put_ function is given enough room beforehand. */

static void
put_byte(Bytes *out, unsigned byte)
{
    out->data[out->used++] = (unsigned char)byte;
}

static void
put_big_endian(Bytes *out, uint64_t value, int size)
{
    unsigned char *at = out->data + out->used;
    for (int position = size - 1; position >= 0; position--) {
        at[position] = (unsigned char)value;
        value >>= 8;
    }
    out->used += (size_t)size;
}

static void
put_id(Bytes *out, const void *object)
{
    put_byte(out, 0xcf);
    uint64_t value = (uint64_t)(uintptr_t)object;
#if (defined(__GNUC__) || defined(__clang__)) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap64(value);
    memcpy(out->data + out->used, &value, 8);
    out->used += 8;
#else
    put_big_endian(out, value, 8);
#endif
}

static void
put_unsigned(Bytes *out, uint64_t value)
{
    if (value < 0x80) {
        put_byte(out, (unsigned)value);
    }
    else if (value < 0x100) {
        put_byte(out, 0xcc);
        put_byte(out, (unsigned)value);
    }
    else if (value < 0x10000) {
        put_byte(out, 0xcd);
        put_big_endian(out, value, 2);
    }
    else if (value < UINT64_C(0x100000000)) {
        put_byte(out, 0xce);
        put_big_endian(out, value, 4);
    }
    else {
        put_byte(out, 0xcf);
        put_big_endian(out, value, 8);
    }
}

static void
put_array(Bytes *out, size_t count)
{
    if (count < 16) {
        put_byte(out, 0x90 | (unsigned)count);
    }
    else if (count < 0x10000) {
        put_byte(out, 0xdc);
        put_big_endian(out, count, 2);
    }
    else {
        put_byte(out, 0xdd);
        put_big_endian(out, count, 4);
    }
}

/* The raw types of the old specification: no str8, which old decoders do not know. */
static int
put_text(Bytes *out, const char *text, size_t size)
{
    int error = bytes_reserve(out, size + 5);
    if (error) {
        return error;
    }
    if (size < 32) {
        put_byte(out, 0xa0 | (unsigned)size);
    }
    else if (size < 0x10000) {
        put_byte(out, 0xda);
        put_big_endian(out, size, 2);
    }
    else {
        put_byte(out, 0xdb);
        put_big_endian(out, size, 4);
    }
    memcpy(out->data + out->used, text, size);
    out->used += size;
    return 0;
}

static int
put_nil(Bytes *out)
{
    int error = bytes_reserve(out, 1);
    if (!error) {
        put_byte(out, 0xc0);
    }
    return error;
}

/* An exact str as text, lone surrogates escaped with a backslash; nil for anything else. */
static int
put_str(Bytes *out, PyObject *text)
{
    if (text == NULL || !PyUnicode_CheckExact(text)) {
        return put_nil(out);
    }
    if (PyUnicode_IS_ASCII(text)) {
        return put_text(out, (const char *)PyUnicode_1BYTE_DATA(text), (size_t)PyUnicode_GET_LENGTH(text));
    }
    /* Not PyUnicode_AsUTF8, which would keep the bytes in the application's string. */
    PyObject *encoded = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
    if (encoded == NULL) {
        PyErr_Clear();
        return put_nil(out);
    }
    int error = put_text(out, PyBytes_AS_STRING(encoded), (size_t)PyBytes_GET_SIZE(encoded));
    Py_DECREF(encoded);
    return error;
}

/* -- which objects have been seen: a bit for every 8 bytes of the regions of memory in which objects are */

#define REGION_BITS 18
#define REGION_WORDS (((size_t)1 << REGION_BITS) / 8 / 64)

typedef struct {
    uintptr_t number;
    uint64_t *bits;
} Region;

typedef struct {
    Region *slots;
    size_t mask, used;
    uintptr_t last_number;
    uint64_t *last_bits;
} Seen;

static size_t
scatter(uintptr_t value)
{
    uint64_t mixed = (uint64_t)value * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 29);
}

static Region *
seen_slot(Region *slots, size_t mask, uintptr_t number)
{
    size_t position = scatter(number) & mask;
    while (slots[position].bits != NULL && slots[position].number != number) {
        position = (position + 1) & mask;
    }
    return &slots[position];
}

static int
seen_grow(Seen *seen)
{
    size_t mask = seen->slots == NULL ? 1023 : seen->mask * 2 + 1;
    Region *slots = calloc(mask + 1, sizeof(Region));
    if (slots == NULL) {
        return ENOMEM;
    }
    for (size_t position = 0; seen->slots != NULL && position <= seen->mask; position++) {
        if (seen->slots[position].bits != NULL) {
            *seen_slot(slots, mask, seen->slots[position].number) = seen->slots[position];
        }
    }
    free(seen->slots);
    seen->slots = slots;
    seen->mask = mask;
    return 0;
}

/* Marks the object; 1 if it is new, 0 if it was marked before, -1 without memory. */
static inline int
seen_mark(Seen *seen, const void *object)
{
    uintptr_t address = (uintptr_t)object;
    uintptr_t number = address >> REGION_BITS;
    if (UNLIKELY(number != seen->last_number || seen->last_bits == NULL)) {
        if ((seen->slots == NULL || seen->used * 2 > seen->mask) && seen_grow(seen)) {
            return -1;
        }
        Region *region = seen_slot(seen->slots, seen->mask, number);
        if (region->bits == NULL) {
            region->bits = calloc(REGION_WORDS, sizeof(uint64_t));
            if (region->bits == NULL) {
                return -1;
            }
            region->number = number;
            seen->used++;
        }
        seen->last_number = number;
        seen->last_bits = region->bits;
    }
    size_t bit = (address & (((uintptr_t)1 << REGION_BITS) - 1)) >> 3;
    uint64_t *word = &seen->last_bits[bit >> 6];
    uint64_t flag = UINT64_C(1) << (bit & 63);
    if (*word & flag) {
        return 0;
    }
    *word |= flag;
    return 1;
}

static void
seen_free(Seen *seen)
{
    for (size_t position = 0; seen->slots != NULL && position <= seen->mask; position++) {
        free(seen->slots[position].bits);
    }
    free(seen->slots);
}

/* -- lists of objects */

typedef struct {
    PyObject **items;
    size_t count, room;
} Objects;

static inline int
objects_push(Objects *objects, PyObject *object)
{
    if (UNLIKELY(objects->count == objects->room)) {
        size_t room = objects->room ? objects->room * 2 : 1024;
        PyObject **items = realloc(objects->items, room * sizeof(PyObject *));
        if (items == NULL) {
            return ENOMEM;
        }
        objects->items = items;
        objects->room = room;
    }
    objects->items[objects->count++] = object;
    return 0;
}

/* -- what all objects of a type share */

enum { PLACE_NONE, PLACE_CODE, PLACE_FUNCTION, PLACE_FRAME, PLACE_ATTRIBUTE, PLACE_MODULE, PLACE_CLASS };
enum { SIZE_UNKNOWN, SIZE_BASIC, SIZE_FUNCTION, SIZE_CALL };
enum { GC_NEVER, GC_ALWAYS, GC_ASK };

typedef struct {
    PyTypeObject *type;
    PyObject *method;      /* borrowed: __sizeof__, a method descriptor of one of its bases */
    PyCFunction function;  /* what that calls, where it takes nothing but the object */
    const char *attribute; /* that leads to the code, for PLACE_ATTRIBUTE */
    Bytes name;            /* packed */
    Bytes place;           /* packed: keys and values of the class's own place; empty if that is not known */
    size_t overhead;       /* of every object, in front of it */
    unsigned char size, placed, collected, fields; /* fields: how many of a map's entries `place` holds */
} Kind;

typedef struct {
    PyObject *name; /* borrowed from sys.modules */
    PyObject *file; /* borrowed, or NULL */
    Py_hash_t hash;
} Module;

typedef struct {
    Kind **kinds;
    size_t kinds_mask, kinds_used;
    Module *modules;
    size_t modules_mask;
    Seen seen;
    Objects roots, waiting, references;
    uintptr_t *scratch;
    size_t scratch_mask;
    Output output;
    Bytes index;
    uint64_t count;
    int report; /* a descriptor, or -1 */
    int error;
} Walk;

/* The value of a plain string key, borrowed. Compares with exact strings only: a key of another type is not asked. */
static PyObject *
plain_get(PyObject *dict, const char *key)
{
    Py_ssize_t position = 0;
    PyObject *name, *value;
    if (dict == NULL || !PyDict_Check(dict)) {
        return NULL;
    }
    while (PyDict_Next(dict, &position, &name, &value)) {
        if (PyUnicode_CheckExact(name) && PyUnicode_CompareWithASCIIString(name, key) == 0) {
            return value;
        }
    }
    return NULL;
}

/* A class's namespace, borrowed: the class keeps it. */
static PyObject *
namespace_of(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *dict = PyType_GetDict(type);
    if (dict == NULL) {
        PyErr_Clear();
        return NULL;
    }
    Py_DECREF(dict);
    return dict;
#else
    return type->tp_dict;
#endif
}

static PyObject *
module_file(PyObject *module)
{
    if (!PyModule_Check(module)) {
        return NULL;
    }
    PyObject *file = plain_get(PyModule_GetDict(module), "__file__");
    return file != NULL && PyUnicode_CheckExact(file) ? file : NULL;
}

static Module *
module_slot(Walk *walk, PyObject *name, Py_hash_t hash)
{
    size_t position = scatter((uintptr_t)hash) & walk->modules_mask;
    while (walk->modules[position].name != NULL &&
           (walk->modules[position].hash != hash || PyUnicode_Compare(walk->modules[position].name, name) != 0)) {
        position = (position + 1) & walk->modules_mask;
    }
    return &walk->modules[position];
}

/* The files of all modules, read once. */
static int
read_modules(Walk *walk)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *name, *module;
    Py_ssize_t position = 0;
    size_t count = modules != NULL && PyDict_Check(modules) ? (size_t)PyDict_Size(modules) : 0;
    walk->modules_mask = 63;
    while (walk->modules_mask < count * 2) {
        walk->modules_mask = walk->modules_mask * 2 + 1;
    }
    walk->modules = calloc(walk->modules_mask + 1, sizeof(Module));
    if (walk->modules == NULL) {
        return ENOMEM;
    }
    while (count > 0 && PyDict_Next(modules, &position, &name, &module)) {
        if (PyUnicode_CheckExact(name)) {
            Py_hash_t hash = PyObject_Hash(name);
            *module_slot(walk, name, hash) = (Module){name, module_file(module), hash};
        }
    }
    return 0;
}

/* The packed name, as class_name() in base.py makes it. */
static int
name_type(Kind *kind)
{
    PyTypeObject *type = kind->type;
    if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
        const char *name = type->tp_name;
        const char *full = strncmp(name, "builtins.", 9) == 0 ? name + 9 : name;
        return put_text(&kind->name, full, strlen(full));
    }
    PyObject *qualname = ((PyHeapTypeObject *)type)->ht_qualname;
    PyObject *module = plain_get(namespace_of(type), "__module__");
    if (module == NULL || qualname == NULL || !PyUnicode_CheckExact(qualname)) {
        return put_nil(&kind->name);
    }
    if (!PyUnicode_CheckExact(module) || PyUnicode_CompareWithASCIIString(module, "builtins") == 0) {
        return put_str(&kind->name, qualname);
    }
    PyObject *name = PyUnicode_FromFormat("%U.%U", module, qualname);
    if (name == NULL) {
        PyErr_Clear();
        return put_nil(&kind->name);
    }
    int error = put_str(&kind->name, name);
    Py_DECREF(name);
    return error;
}

/* Where a class is: file (borrowed; NULL if that is not known) and line (-1 so). */
static PyObject *
place_of_class(Walk *walk, PyTypeObject *type, long *line)
{
    *line = -1;
    if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
        return NULL;
    }
    PyObject *dict = namespace_of(type);
    PyObject *module = plain_get(dict, "__module__");
    if (module == NULL || !PyUnicode_CheckExact(module)) {
        return NULL;
    }
    Module *found = module_slot(walk, module, PyObject_Hash(module));
    PyObject *number = plain_get(dict, "__firstlineno__"); /* 3.13 and later */
    if (number != NULL && PyLong_CheckExact(number)) {
        *line = PyLong_AsLong(number);
        if (*line < 0) {
            PyErr_Clear();
            *line = -1;
        }
    }
    return found->name != NULL ? found->file : NULL;
}

/* How the size of its objects is had: the first __sizeof__ among its bases that is written in C and meant for it. */
static void
measure_type(Kind *kind)
{
    PyTypeObject *type = kind->type;
    PyObject *mro = type->tp_mro;
    kind->size = SIZE_UNKNOWN;
    for (Py_ssize_t i = 0; mro != NULL && PyTuple_Check(mro) && i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        PyObject *method = PyType_Check(base) ? plain_get(namespace_of(base), "__sizeof__") : NULL;
        if (method == NULL || Py_TYPE(method) != &PyMethodDescr_Type) {
            continue;
        }
        PyTypeObject *owner = ((PyDescrObject *)method)->d_type;
        if (!PyType_IsSubtype(type, owner)) {
            continue; /* taken from another class */
        }
        PyMethodDef *definition = ((PyMethodDescrObject *)method)->d_method;
        kind->method = method;
        kind->function = definition->ml_meth;
        kind->size = definition->ml_flags == METH_NOARGS ? SIZE_FUNCTION : SIZE_CALL;
#if PY_VERSION_HEX < 0x030E0000
        int inline_values = 0;
#ifdef Py_TPFLAGS_INLINE_VALUES
        inline_values = (type->tp_flags & Py_TPFLAGS_INLINE_VALUES) != 0;
#endif
        if (owner == &PyBaseObject_Type && !inline_values) {
            kind->size = SIZE_BASIC; /* what object.__sizeof__ computes there */
        }
#endif
        break;
    }
#if !defined(Py_GIL_DISABLED)
    if (type->tp_flags & Py_TPFLAGS_HAVE_GC) {
        kind->overhead += 2 * sizeof(uintptr_t); /* the collector's header */
    }
#endif
#if PY_VERSION_HEX >= 0x030C0000
    if (type->tp_flags & (Py_TPFLAGS_MANAGED_WEAKREF | Py_TPFLAGS_MANAGED_DICT)) {
        kind->overhead += 2 * sizeof(PyObject *);
    }
#elif PY_VERSION_HEX >= 0x030B0000
    if (type->tp_flags & Py_TPFLAGS_MANAGED_DICT) {
        kind->overhead += 2 * sizeof(PyObject *);
    }
#endif
}

static int
describe_type(Walk *walk, Kind *kind)
{
    PyTypeObject *type = kind->type;
    measure_type(kind);
    if (type == &PyCode_Type) {
        kind->placed = PLACE_CODE;
    }
    else if (type == &PyFunction_Type) {
        kind->placed = PLACE_FUNCTION;
    }
    else if (type == &PyFrame_Type) {
        kind->placed = PLACE_FRAME;
    }
    else if (type == &PyGen_Type || type == &PyCoro_Type || type == &PyAsyncGen_Type) {
        kind->placed = PLACE_ATTRIBUTE;
        kind->attribute = type == &PyGen_Type ? "gi_code" : type == &PyCoro_Type ? "cr_code" : "ag_code";
    }
    else if (PyType_IsSubtype(type, &PyModule_Type)) {
        kind->placed = PLACE_MODULE;
    }
    else if (PyType_IsSubtype(type, &PyType_Type)) {
        kind->placed = PLACE_CLASS;
    }
    kind->collected = !(type->tp_flags & Py_TPFLAGS_HAVE_GC) || type->tp_traverse == NULL ? GC_NEVER
                      : type->tp_is_gc == NULL                                          ? GC_ALWAYS
                                                                                         : GC_ASK;
    int error = name_type(kind);
    long line;
    PyObject *file = place_of_class(walk, type, &line);
    if (!error && file != NULL) {
        error = bytes_reserve(&kind->place, 16);
        if (!error) {
            kind->fields = 1;
            put_byte(&kind->place, 16);
            error = put_str(&kind->place, file);
        }
        if (!error && line >= 0 && !(error = bytes_reserve(&kind->place, 16))) {
            kind->fields = 2;
            put_byte(&kind->place, 17);
            put_unsigned(&kind->place, (uint64_t)line);
        }
    }
    return error;
}

static void
kind_free(Kind *kind)
{
    if (kind != NULL) {
        free(kind->name.data);
        free(kind->place.data);
        free(kind);
    }
}

static int
kinds_grow(Walk *walk)
{
    size_t mask = walk->kinds == NULL ? 1023 : walk->kinds_mask * 2 + 1;
    Kind **kinds = calloc(mask + 1, sizeof(Kind *));
    if (kinds == NULL) {
        return ENOMEM;
    }
    for (size_t i = 0; walk->kinds != NULL && i <= walk->kinds_mask; i++) {
        if (walk->kinds[i] != NULL) {
            size_t position = scatter((uintptr_t)walk->kinds[i]->type >> 3) & mask;
            while (kinds[position] != NULL) {
                position = (position + 1) & mask;
            }
            kinds[position] = walk->kinds[i];
        }
    }
    free(walk->kinds);
    walk->kinds = kinds;
    walk->kinds_mask = mask;
    return 0;
}

static Kind *
kind_of(Walk *walk, PyTypeObject *type)
{
    if (walk->kinds == NULL || walk->kinds_used * 2 > walk->kinds_mask) {
        if ((walk->error = kinds_grow(walk))) {
            return NULL;
        }
    }
    size_t position = scatter((uintptr_t)type >> 3) & walk->kinds_mask;
    Kind *kind;
    while ((kind = walk->kinds[position]) != NULL) {
        if (kind->type == type) {
            return kind;
        }
        position = (position + 1) & walk->kinds_mask;
    }
    kind = calloc(1, sizeof(Kind));
    if (kind == NULL) {
        walk->error = ENOMEM;
        return NULL;
    }
    kind->type = type;
    if ((walk->error = describe_type(walk, kind))) {
        kind_free(kind);
        return NULL;
    }
    walk->kinds[position] = kind;
    walk->kinds_used++;
    return kind;
}

/* Size in bytes as sys.getsizeof tells it; -1 when the type does not tell. */
static Py_ssize_t
size_of(Kind *kind, PyObject *object)
{
    Py_ssize_t size = -1;
    size_t overhead = kind->overhead;
    PyObject *answer = NULL;
#if (PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030D0000) && !defined(Py_GIL_DISABLED)
    if (kind->collected == GC_ASK && !PyObject_IS_GC(object)) {
        overhead -= 2 * sizeof(uintptr_t); /* a static type has no header; 3.11 and 3.12 count one nevertheless */
    }
#endif
    switch (kind->size) {
    case SIZE_BASIC:
        size = kind->type->tp_basicsize;
        if (kind->type->tp_itemsize > 0) {
            size += Py_SIZE(object) * kind->type->tp_itemsize;
        }
        break;
    case SIZE_FUNCTION:
        answer = kind->function(object, NULL);
        break;
    case SIZE_CALL:
        answer = PyObject_CallFunctionObjArgs(kind->method, object, NULL);
        break;
    default:
        return -1;
    }
    if (answer != NULL) {
        size = PyLong_CheckExact(answer) ? PyLong_AsSsize_t(answer) : -1;
        Py_DECREF(answer);
    }
    if (size < 0) {
        PyErr_Clear();
        return -1;
    }
    return size + (Py_ssize_t)overhead;
}

/* -- the walk */

static int
visit(PyObject *object, void *arg)
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

/* Each reference once, in the order of the first. */
static int
unique_references(Walk *walk)
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

static int
put_code(Bytes *out, PyObject *object)
{
    int error;
    if (object == NULL || !PyCode_Check(object)) {
        error = bytes_reserve(out, 4);
        if (!error) {
            put_byte(out, 6);
            put_byte(out, 0xc0);
            put_byte(out, 7);
            put_byte(out, 0xc0);
        }
        return error;
    }
    PyCodeObject *code = (PyCodeObject *)object;
    if ((error = bytes_reserve(out, 1))) {
        return error;
    }
    put_byte(out, 6);
    if ((error = put_str(out, code->co_filename)) || (error = bytes_reserve(out, 10))) {
        return error;
    }
    put_byte(out, 7);
    put_unsigned(out, code->co_firstlineno < 0 ? 0 : (uint64_t)code->co_firstlineno);
    return 0;
}

/* Keys 6 and 7. */
static int
put_place(Walk *walk, Kind *kind, PyObject *object)
{
    Bytes *out = &walk->output.bytes;
    PyObject *code = NULL, *file = NULL;
    long line = -1;
    int error;
    switch (kind->placed) {
    case PLACE_CODE:
        return put_code(out, object);
    case PLACE_FUNCTION:
        return put_code(out, PyFunction_GET_CODE(object));
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
        file = place_of_class(walk, (PyTypeObject *)object, &line);
        break;
    default:
        break;
    }
    if (kind->placed == PLACE_FRAME || kind->placed == PLACE_ATTRIBUTE) {
        if (code == NULL) {
            PyErr_Clear();
        }
        error = put_code(out, code);
        Py_XDECREF(code);
        return error;
    }
    if ((error = bytes_reserve(out, 16))) {
        return error;
    }
    put_byte(out, 6);
    if ((error = put_str(out, file)) || (error = bytes_reserve(out, 16))) {
        return error;
    }
    put_byte(out, 7);
    if (file != NULL && line >= 0) {
        put_unsigned(out, (uint64_t)line);
    }
    else {
        put_byte(out, 0xc0);
    }
    return 0;
}

static void
report(Walk *walk, uint64_t kind, uint64_t value)
{
    if (walk->report >= 0) {
        uint64_t record[2] = {kind, value};
        /* A full pipe drops it: nobody has looked for a while. A closed one ends us by SIGPIPE, which is meant. */
        ssize_t ignored = write(walk->report, record, sizeof record);
        (void)ignored;
    }
}

/* Where a chunk begins; and that makes a good moment for what has to be done now and then. */
static int
begin_chunk(Walk *walk)
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

/* Writes one object and marks what it refers to; what is new there waits for its turn. */
static int
dump_object(Walk *walk, PyObject *object)
{
    Bytes *out = &walk->output.bytes;
    Kind *kind = kind_of(walk, Py_TYPE(object));
    int error;
    if (kind == NULL) {
        return walk->error;
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
    put_byte(out, 0x80 | (6u + kind->fields));
    put_byte(out, 3);
    put_id(out, object);
    put_byte(out, 4);
    memcpy(out->data + out->used, kind->name.data, kind->name.used);
    out->used += kind->name.used;
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
    if (kind->placed) {
        if ((error = put_place(walk, kind, object))) {
            return error;
        }
        if ((error = bytes_reserve(out, 32 + kind->place.used))) {
            return error;
        }
    }
    else {
        memcpy(out->data + out->used, "\x06\xc0\x07\xc0", 4);
        out->used += 4;
    }
    put_byte(out, 8);
    Py_ssize_t size = size_of(kind, object);
    if (size < 0) {
        put_byte(out, 0xc0);
    }
    else {
        put_unsigned(out, (uint64_t)size);
    }
    if (kind->fields) {
        memcpy(out->data + out->used, kind->place.data, kind->place.used);
        out->used += kind->place.used;
    }
    if (++walk->count % PROGRESS_EVERY == 0) {
        report(walk, REPORT_PROGRESS, walk->count);
    }
    return 0;
}

/* -- what the collector knows */

static int
add_root(Walk *walk, PyObject *object)
{
    int fresh = seen_mark(&walk->seen, object);
    return fresh < 0 ? ENOMEM : fresh ? objects_push(&walk->roots, object) : 0;
}

#if KNOWN_LISTS
/* Include/internal/pycore_gc.h, the same from 3.9 to 3.13: generations[3], a pointer, and the permanent generation. */
typedef struct GcHead {
    uintptr_t next, previous;
} GcHead;

typedef struct {
    GcHead head;
    int threshold, count;
} GcGeneration;

typedef struct {
    GcGeneration generations[3];
    GcHead *generation0;
    GcGeneration permanent;
} GcLists;

#define GC_POINTER(value) ((GcHead *)((value) & ~(uintptr_t)3))

static int lists_are_known = 0;

/* The collector's lists: a new object comes last in the youngest, so its successor is the head of that. */
static GcLists *
find_lists(void)
{
    PyObject *probe = PyList_New(0);
    if (probe == NULL) {
        PyErr_Clear();
        return NULL;
    }
    GcLists *lists = (GcLists *)GC_POINTER(((GcHead *)probe - 1)->next);
    Py_DECREF(probe);
    return lists;
}

/* Whether they look as this file thinks they do: thresholds are where they should be, and lists are rings. */
static int
check_lists(void)
{
    long expected[3];
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *threshold = gc != NULL ? PyObject_CallMethod(gc, "get_threshold", NULL) : NULL;
    Py_XDECREF(gc);
    if (threshold == NULL || !PyTuple_Check(threshold) || PyTuple_GET_SIZE(threshold) != 3) {
        PyErr_Clear();
        Py_XDECREF(threshold);
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        expected[i] = PyLong_AsLong(PyTuple_GET_ITEM(threshold, i));
    }
    Py_DECREF(threshold);
    GcLists *lists = find_lists();
    if (lists == NULL || (uintptr_t)lists->generation0 != (uintptr_t)lists) {
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        GcGeneration *generation = i < 3 ? &lists->generations[i] : &lists->permanent;
        GcHead *next = GC_POINTER(generation->head.next), *previous = GC_POINTER(generation->head.previous);
        if (next == NULL || previous == NULL || GC_POINTER(next->previous) != &generation->head ||
            GC_POINTER(previous->next) != &generation->head) {
            return 0;
        }
        if (i < 3 && generation->threshold != expected[i]) {
            return 0;
        }
    }
    return 1;
}

static int
add_from_lists(Walk *walk)
{
    GcLists *lists = find_lists();
    if (lists == NULL) {
        return ENOMEM;
    }
    for (int i = 3; i >= 0; i--) {
        GcHead *head = i < 3 ? &lists->generations[i].head : &lists->permanent.head;
        for (GcHead *at = GC_POINTER(head->next); at != head; at = GC_POINTER(at->next)) {
            int error = add_root(walk, (PyObject *)(at + 1));
            if (error) {
                return error;
            }
        }
    }
    return 0;
}
#endif

#if PY_VERSION_HEX >= 0x030C0000
static int
visit_root(PyObject *object, void *arg)
{
    Walk *walk = arg;
    walk->error = add_root(walk, object);
    return walk->error == 0;
}
#endif

/* Fills the roots. `list` gets what keeps them, or NULL; it is nobody else's, and no root. */
static int
find_roots(Walk *walk, PyObject **list)
{
    int error = 0;
    *list = NULL;
#if KNOWN_LISTS
    if (lists_are_known) {
        error = add_from_lists(walk);
        goto modules;
    }
#endif
#if PY_VERSION_HEX >= 0x030C0000
    PyUnstable_GC_VisitObjects(visit_root, walk);
    error = walk->error;
#else
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *found = gc != NULL ? PyObject_CallMethod(gc, "get_objects", NULL) : NULL;
    Py_XDECREF(gc);
    if (found == NULL || !PyList_Check(found)) {
        PyErr_Clear();
        Py_XDECREF(found);
        return ENOMEM;
    }
    *list = found;
    for (Py_ssize_t i = 0; !error && i < PyList_GET_SIZE(found); i++) {
        error = add_root(walk, PyList_GET_ITEM(found, i));
    }
#endif
#if KNOWN_LISTS
modules:
#endif
    if (!error) {
        /* What has been frozen (gc.freeze) may not be told of, but all of it hangs on these. */
        PyObject *modules = PyImport_GetModuleDict();
        error = modules != NULL ? add_root(walk, modules) : 0;
    }
    return error;
}

static int
write_end(Walk *walk)
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

/* The whole dump, without letting go of the interpreter's lock; 0 or an errno. */
static int
dump(Walk *walk)
{
    PyObject *list = NULL;
    int error = read_modules(walk);
    if (!error) {
        error = bytes_reserve(&walk->output.bytes, OUTPUT_SIZE * 2);
    }
    /* No collection may begin in here: it would run the application's finalizers, and change what is walked. */
    int was_on = PyGC_Disable();
    if (!error) {
        error = find_roots(walk, &list);
    }
    report(walk, REPORT_ROOTS, walk->roots.count);
    for (size_t i = 0; !error && i < walk->roots.count; i++) {
        if (i + 8 < walk->roots.count) {
            PREFETCH(walk->roots.items[i + 8]);
        }
        error = dump_object(walk, walk->roots.items[i]);
        while (!error && walk->waiting.count > 0) {
            error = dump_object(walk, walk->waiting.items[--walk->waiting.count]);
        }
    }
    if (!error) {
        error = write_end(walk);
    }
    if (was_on) {
        PyGC_Enable();
    }
    Py_XDECREF(list);
    return error;
}

static void
walk_free(Walk *walk)
{
    for (size_t i = 0; walk->kinds != NULL && i <= walk->kinds_mask; i++) {
        kind_free(walk->kinds[i]);
    }
    free(walk->kinds);
    free(walk->modules);
    seen_free(&walk->seen);
    free(walk->roots.items);
    free(walk->waiting.items);
    free(walk->references.items);
    free(walk->scratch);
    free(walk->output.bytes.data);
    free(walk->index.data);
}

static int64_t
nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* -- in a forked child */

#if CAN_FORK

static int
close_some(unsigned from, unsigned to)
{
#ifdef SYS_close_range
    return from > to ? 0 : (int)syscall(SYS_close_range, from, to, 0);
#else
    return -1;
#endif
}

/* Closes every descriptor but two: peers of the parent's connections must see them end when the parent ends them. */
static void
close_others(int one, int other)
{
    unsigned low = (unsigned)(one < other ? one : other), high = (unsigned)(one < other ? other : one);
    if ((low == 0 || close_some(0, low - 1) == 0) && close_some(low + 1, high - 1) == 0 &&
        close_some(high + 1, ~0U) == 0) {
        return;
    }
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        long most = sysconf(_SC_OPEN_MAX);
        for (int fd = 0; fd < (most > 0 && most < 1000000 ? most : 65536); fd++) {
            if (fd != one && fd != other) {
                close(fd);
            }
        }
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd != one && fd != other && fd != dirfd(directory)) {
            close(fd);
        }
    }
    closedir(directory);
}

/* Everything that ties the child to what its parent was. */
static void
become_child(int file, int report, pid_t parent, long thread, unsigned seconds, const sigset_t *none)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || (syscall(SYS_tgkill, parent, thread, 0) < 0 && errno == ESRCH)) {
        _exit(1); /* the process, or the thread that counts as our parent, was gone before the line above */
    }
    close_others(file, report);
    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL); /* Python's own handlers only make a note, which nobody would read */
    }
    sigprocmask(SIG_SETMASK, none, NULL);
    alarm(seconds);
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0) {
        ssize_t ignored = write(score, "1000", 4); /* the first to go when memory runs out */
        (void)ignored;
        close(score);
    }
    prctl(PR_SET_NAME, "rbkit-heap");
    if (nice(10) == -1) {
        errno = 0;
    }
}

PyDoc_STRVAR(fork_dump_doc,
             "fork_dump(file, seconds=300, hold=0.0, /)\n--\n\n"
             "Forks a child that writes the dump to the descriptor ``file``, and returns at once.\n\n"
             "None of Python's own hooks around a fork run: the child is C code only, and ends by ``_exit``. It is\n"
             "killed after ``seconds``, and when the calling thread ends. ``hold`` has it wait that many seconds first.\n\n"
             "Returns (pid, descriptor to read reports from, nanoseconds that the fork took).");

static PyObject *
fork_dump(PyObject *Py_UNUSED(module), PyObject *args)
{
    int file, pipe_ends[2];
    unsigned seconds = 300;
    double hold = 0.0;
    sigset_t all, before, none;
    if (!PyArg_ParseTuple(args, "i|Id:fork_dump", &file, &seconds, &hold)) {
        return NULL;
    }
    if (pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    /* No handler of the parent's may run in the child. */
    sigfillset(&all);
    sigemptyset(&none);
    pid_t parent = getpid();
    long thread = syscall(SYS_gettid);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int64_t began = nanoseconds();
    pid_t pid = fork();
    if (pid == 0) {
        become_child(file, pipe_ends[1], parent, thread, seconds, &none);
        if (hold > 0) {
            struct timespec wait = {(time_t)hold, (long)((hold - (double)(time_t)hold) * 1e9)};
            nanosleep(&wait, NULL);
        }
        Walk walk = {.output = {.file = file}, .report = pipe_ends[1]};
        int error = dump(&walk);
        report(&walk, error ? REPORT_ERROR : REPORT_DONE, error ? (uint64_t)error : walk.count);
        _exit(error ? 1 : 0);
    }
    int64_t took = nanoseconds() - began;
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(pipe_ends[1]);
    if (pid < 0) {
        close(pipe_ends[0]);
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("iiL", (int)pid, pipe_ends[0], (long long)took);
}

PyDoc_STRVAR(reap_doc, "reap(pid, kill=False, /)\n--\n\n"
                       "Whether the child has ended; a zombie goes. With ``kill``, one that has not is killed.\n"
                       "True too if somebody else has reaped it, as an event loop may.");

static PyObject *
reap(PyObject *Py_UNUSED(module), PyObject *args)
{
    int pid, end = 0, status;
    if (!PyArg_ParseTuple(args, "i|p:reap", &pid, &end)) {
        return NULL;
    }
    pid_t found;
    do {
        found = waitpid((pid_t)pid, &status, WNOHANG);
    } while (found < 0 && errno == EINTR);
    if (found == 0 && end) {
        kill((pid_t)pid, SIGKILL); /* it is still ours: nobody else can have its number */
    }
    return PyBool_FromLong(found != 0);
}

#endif

PyDoc_STRVAR(dump_doc, "dump(file, /)\n--\n\n"
                       "Writes the dump to the descriptor ``file``; nothing else of this process runs meanwhile.\n\n"
                       "Returns (objects, nanoseconds). Raises OSError.");

static PyObject *
heap_dump(PyObject *Py_UNUSED(module), PyObject *args)
{
    int file;
    if (!PyArg_ParseTuple(args, "i:dump", &file)) {
        return NULL;
    }
    Walk walk = {.output = {.file = file}, .report = -1};
    int64_t began = nanoseconds();
    int error = dump(&walk);
    walk_free(&walk);
    int64_t took = nanoseconds() - began;
    if (error) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("KL", (unsigned long long)walk.count, (long long)took);
}

static PyMethodDef methods[] = {
    {"dump", heap_dump, METH_VARARGS, dump_doc},
#if CAN_FORK
    {"fork_dump", fork_dump, METH_VARARGS, fork_dump_doc},
    {"reap", reap, METH_VARARGS, reap_doc},
#endif
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
#if KNOWN_LISTS
    lists_are_known = check_lists();
    const char *roots = lists_are_known ? "lists" : PY_VERSION_HEX >= 0x030C0000 ? "visit" : "get_objects";
#else
    const char *roots = PY_VERSION_HEX >= 0x030C0000 ? "visit" : "get_objects";
#endif
    return PyModule_AddIntConstant(module, "OBJECTS_PER_CHUNK", OBJECTS_PER_CHUNK) ||
           PyModule_AddIntConstant(module, "CAN_FORK", CAN_FORK) || PyModule_AddStringConstant(module, "ROOTS", roots);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_heap",
    .m_doc = "The heap, written to a file by C code.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__heap(void)
{
    return PyModuleDef_Init(&definition);
}
