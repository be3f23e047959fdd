/* The census: how many objects of each class the collector tracks, counted in slices.
 *
 * The lists of the collector are walked while the interpreter's lock is held, for a few milliseconds at a time. In
 * between, the place is kept by an object of our own that is put into the list behind the last one counted: whatever
 * happens to the others, that one is alive and in some list. A full collection shuffles the old list, so the walk
 * begins anew after one; younger survivors are appended to it and met later. The frozen objects are counted first: what
 * is frozen later takes the bookmark along, which is seen by the list that the walk then ends in; when they are
 * released they have another first one, or none.
 */
#ifndef RBKIT_TRACE_CENSUS_H
#define RBKIT_TRACE_CENSUS_H

#include <Python.h>

#include "../common/gc_lists.h"

#if HAVE_LISTS
/* census_begin(), census_step(), census_end(). */
extern PyMethodDef census_methods[];
#endif

#endif
