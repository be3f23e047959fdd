#include "output.h"

#include <errno.h>
#include <unistd.h>

int write_all(int file, const unsigned char *data, size_t size)
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

int output_flush(Output *output)
{
    int error = write_all(output->file, output->bytes.data, output->bytes.used);
    output->written += output->bytes.used;
    output->bytes.used = 0;
    return error;
}
