/* The request of a stack in which the middleware's function has returned, and a web server's function sends the body: what
 * profilers/requests/servers.py does, without Python code.
 *
 * The variables of that function are read whenever somebody looks, so nothing is noted that could outlive the request or
 * be taken for another one's. Of the environ the few values are kept that make the name: equal ones are one object, and
 * it does not matter whether they are of one request or of several.
 *
 * Everything here is under the interpreter's lock, with the collector off. Only public functions are used.
 */
#ifndef RBKIT_SERVED_H
#define RBKIT_SERVED_H

#include <Python.h>

#include "../common/frames.h"

#define MAX_SERVERS 16

typedef struct {
    PyObject *name, *attribute; /* the latter may be empty */
} Variable;

typedef struct {
    Variable environ, body;
} Served;

typedef struct {
    int n;
    uint64_t filter;
    PyObject *codes[MAX_SERVERS];
    Served served[MAX_SERVERS];
    PyObject *functions; /* what keeps all of these */
    PyObject *keys, *kind;
    PyObject *known; /* objects of that kind, by their values */
} Servers;

extern Servers V;

/* The request of a marker with a server; borrowed: it stays until the next one is asked for. NULL where there is none. */
PyObject *streamed(PyThreadState *tstate, const Marker *found);

void forget_served(void);

/* -1 with an exception. */
int set_served(PyObject *functions, PyObject *keys, PyObject *kind);

#endif
