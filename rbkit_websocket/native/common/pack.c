#include "pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int bytes_grow(Bytes *bytes, size_t more)
{
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

int put_nil(Bytes *out)
{
    int error = bytes_reserve(out, 1);
    if (!error) {
        put_byte(out, 0xc0);
    }
    return error;
}

int put_unicode(Bytes *out, PyObject *text)
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

int put_str(Bytes *out, PyObject *text)
{
    return text != NULL && PyUnicode_CheckExact(text) ? put_unicode(out, text) : put_nil(out);
}
