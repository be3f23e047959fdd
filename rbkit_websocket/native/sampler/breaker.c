#include "breaker.h"

#include "../common/compat.h"
#include "../common/gc_lists.h"

#if HAVE_BREAKER
#undef _PyGC_FINALIZED /* the public headers have one of the same name */
#define Py_BUILD_CORE 1
#include <internal/pycore_interp.h>
#undef Py_BUILD_CORE

/* What is known of the interpreter's structure in front of the word, beside it and behind it, in the places where the
 * headers have it. */
static int neighbours_agree(PyInterpreterState *interpreter)
{
    int breaker = __atomic_load_n((int *)&interpreter->ceval.eval_breaker, __ATOMIC_RELAXED);
    int request = __atomic_load_n((int *)&interpreter->ceval.gil_drop_request, __ATOMIC_RELAXED);
    PyObject *modules = PyImport_GetModuleDict(), *builtins = PyImport_AddModule("builtins");
    if ((breaker & ~1) != 0 || (request & ~1) != 0 || modules == NULL || builtins == NULL ||
        interpreter->ceval.recursion_limit != Py_GetRecursionLimit() ||
        interpreter->id != PyInterpreterState_GetID(interpreter) ||
        interpreter->threads.head != PyInterpreterState_ThreadHead(interpreter) ||
        (void *)&interpreter->gc.generations != (void *)find_lists()) {
        return 0;
    }
#if BREAKER_IS_BEHIND_BUILTINS
    return interpreter->builtins == PyModule_GetDict(builtins) && interpreter->imports.modules == modules &&
           (!interpreter->ceval.own_gil || interpreter->ceval.gil == &interpreter->_gil);
#else
    return interpreter->modules == modules && interpreter->builtins == PyModule_GetDict(builtins);
#endif
}
#endif

int breaker_is_known(void)
{
#if HAVE_BREAKER
    return release_that_runs() != RELEASE_UNKNOWN && neighbours_agree(PyInterpreterState_Get());
#else
    return 0;
#endif
}

void set_breaker(PyInterpreterState *interpreter)
{
#if HAVE_BREAKER
    __atomic_store_n((int *)&interpreter->ceval.eval_breaker, 1, __ATOMIC_RELAXED);
#else
    (void)interpreter;
#endif
}
