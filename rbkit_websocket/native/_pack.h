/* Bytes that grow, and values as MessagePack. */
#ifndef RBKIT_PACK_H
#define RBKIT_PACK_H

#include <Python.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    unsigned char *data;
    size_t used, room;
} Bytes;

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

/* MessagePack. Each put_ function is given enough room beforehand. */

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

/* What begins a value of some size: one byte for the smallest, else a type and 16 bits, or the next type and 32. */
static void
put_size(Bytes *out, size_t size, size_t small, unsigned small_type, unsigned type)
{
    if (size < small) {
        put_byte(out, small_type | (unsigned)size);
    }
    else if (size < 0x10000) {
        put_byte(out, type);
        put_big_endian(out, size, 2);
    }
    else {
        put_byte(out, type + 1);
        put_big_endian(out, size, 4);
    }
}

static void
put_array(Bytes *out, size_t count)
{
    put_size(out, count, 16, 0x90, 0xdc);
}

/* The raw types of the old specification: no str8, which old decoders do not know. */
static int
put_text(Bytes *out, const char *text, size_t size)
{
    int error = bytes_reserve(out, size + 5);
    if (error) {
        return error;
    }
    put_size(out, size, 32, 0xa0, 0xda);
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

/* A str or an instance of a subclass (none of whose methods runs) as text, lone surrogates escaped with a backslash. */
static int
put_unicode(Bytes *out, PyObject *text)
{
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

/* The same of an exact str; nil for anything else. */
static int
put_str(Bytes *out, PyObject *text)
{
    return text != NULL && PyUnicode_CheckExact(text) ? put_unicode(out, text) : put_nil(out);
}

#endif
