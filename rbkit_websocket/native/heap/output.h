/* The file that a dump goes to, and an object's address as MessagePack. */
#ifndef RBKIT_HEAP_OUTPUT_H
#define RBKIT_HEAP_OUTPUT_H

#include <Python.h>

#include <stdint.h>
#include <string.h>

#include "../common/pack.h"

#define OUTPUT_SIZE ((size_t)1 << 18)

typedef struct {
    Bytes bytes;
    int file;
    uint64_t written;
} Output;

/* 0 or an errno, as all that writes. */
int write_all(int file, const unsigned char *data, size_t size);

int output_flush(Output *output);

/* A reference: always as long, so that it may be written quickly. */
static inline void put_id(Bytes *out, const void *object)
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

#endif
