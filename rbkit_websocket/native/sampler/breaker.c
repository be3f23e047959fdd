#include "breaker.h"

#include "../common/compat.h"

#if HAVE_BREAKER
#undef _PyGC_FINALIZED /* the public headers have one of the same name */
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#include <internal/pycore_interp.h>
#undef Py_BUILD_CORE
#else
#include <internal/pycore_interp.h>
#endif
#endif

int breaker_is_known(void)
{
    return HAVE_BREAKER && layouts_hold();
}

void set_breaker(PyInterpreterState *interpreter)
{
#if HAVE_BREAKER
    __atomic_store_n((int *)&interpreter->ceval.eval_breaker, 1, __ATOMIC_RELAXED);
#else
    (void)interpreter;
#endif
}
