/* Bytes that grow, and values as MessagePack. */
#ifndef RBKIT_PACK_H
#define RBKIT_PACK_H

#include <Python.h>

#include <stdint.h>
#include <string.h>

typedef struct {
    unsigned char *data;
    size_t used, room;
} Bytes;

/* Room for so much more; 0 or ENOMEM. */
int bytes_grow(Bytes *bytes, size_t more);

static inline int bytes_reserve(Bytes *bytes, size_t more)
{
    return bytes->room - bytes->used >= more ? 0 : bytes_grow(bytes, more);
}

/* MessagePack. Each put_ function is given enough room beforehand. */

static inline void put_byte(Bytes *out, unsigned byte)
{
    out->data[out->used++] = (unsigned char)byte;
}

static inline void put_big_endian(Bytes *out, uint64_t value, int size)
{
    unsigned char *at = out->data + out->used;
    for (int position = size - 1; position >= 0; position--) {
        at[position] = (unsigned char)value;
        value >>= 8;
    }
    out->used += (size_t)size;
}

static inline void put_unsigned(Bytes *out, uint64_t value)
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
static inline void put_size(Bytes *out, size_t size, size_t small, unsigned small_type, unsigned type)
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

static inline void put_array(Bytes *out, size_t count)
{
    put_size(out, count, 16, 0x90, 0xdc);
}

/* The raw types of the old specification: no str8, which old decoders do not know. */
static inline int put_text(Bytes *out, const char *text, size_t size)
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

int put_nil(Bytes *out);

/* A str or an instance of a subclass (none of whose methods runs) as text, lone surrogates escaped with a backslash. */
int put_unicode(Bytes *out, PyObject *text);

/* The same of an exact str; nil for anything else. */
int put_str(Bytes *out, PyObject *text);

#endif
