/* The file that a dump goes to, and an object's address as MessagePack. */
#ifndef RBKIT_HEAP_PACK_H
#define RBKIT_HEAP_PACK_H

#include <Python.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "_pack.h"

#define OUTPUT_SIZE ((size_t)1 << 18)

typedef struct {
    Bytes bytes;
    int file;
    uint64_t written;
} Output;

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

/* A reference: always as long, so that it may be written quickly. */
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

#endif
