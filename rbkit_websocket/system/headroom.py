"""Counts of descriptors and threads that this process may still have, without keeping any.

A count is a look, not a promise: the application goes on taking and giving back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..errors import NoRoom
from .clock import time
from .unpatched import original

__all__ = ["descriptors_left", "require_descriptors", "require_threads", "with_room"]

# Left to the application: a handful of connections, files and pipes.
DESCRIPTORS_KEPT: Final = 16
THREADS_KEPT: Final = 2

_PATIENCE: Final = 0.5

T = TypeVar("T")


def descriptors_left() -> int | None:
    """Descriptors that the soft limit (``RLIMIT_NOFILE``) still lets this process open; None where unknown."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    # Since Linux 6.2 the size of the directory is the number of open descriptors (proc(5)), and the look takes none.
    try:
        count = os.stat("/proc/self/fd").st_size
    except OSError:
        return None
    if count == 0:
        try:
            count = len(os.listdir("/proc/self/fd")) - 1
        except OSError:
            return 0
    return max(0, limit - count)


def require_descriptors(wanted: int) -> None:
    """Makes sure that ``wanted`` descriptors are free, and some more for the application.

    Raises:
        NoRoom: too few are free.
    """
    left = descriptors_left()
    if left is not None and left < wanted + DESCRIPTORS_KEPT:
        raise NoRoom(
            f"only {left} file descriptors are left in this process, and the application needs them itself; "
            "raise its limit (ulimit -n), or look for what keeps descriptors open"
        )


def with_room(wanted: int, make: Callable[[], T]) -> T:
    """Calls a function that ends or hangs the process when it gets no descriptors, while other threads take some too.

    Args:
        wanted: descriptors free at the call, less one for each thread that opens something at that moment: well more
            than the function needs.
        make: the function; it runs for less than a millisecond and keeps the interpreter's lock.

    Raises:
        NoRoom: too few are free, or too few would be left for the application; the function has not been called.
    """
    close = _closer()
    require_descriptors(wanted)
    reserved: list[int] = []
    try:
        # Held, so that the application cannot take them in between.
        while len(reserved) < wanted:
            reserved.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        for descriptor in reserved:
            os.close(descriptor)
        raise NoRoom(f"{error.strerror} in this process; raise its limit (ulimit -n)") from error
    # From here on no other thread runs Python code: a thread that has just got the interpreter's lock keeps it for the
    # switch interval (5 ms), and nothing below gives it away.
    time.sleep(0)
    for descriptor in reserved:
        close(descriptor)
    return make()


def _closer() -> Callable[[int], object]:
    """``close(2)`` without giving the interpreter's lock away, as ``os.close()`` does."""
    try:
        import ctypes

        return ctypes.PyDLL(None).close
    except (ImportError, OSError, AttributeError):  # an interpreter without ctypes, or a C library without names
        return os.close


def require_threads(wanted: int) -> None:
    """Makes sure that ``wanted`` threads can be started, and some more by the application.

    Only an attempt tells: the user, the control group and the kernel each have a limit.

    Raises:
        NoRoom: too few can be started.
    """
    before = _threads()
    tried = wanted + THREADS_KEPT
    if (started := _try(tried)) < tried:
        raise NoRoom(
            f"no more than {started} further threads can be started here, and the application needs them itself; "
            "raise the limit (ulimit -u, or the container's number of processes)"
        )
    # A thread that has ended still counts for some microseconds.
    deadline = time.monotonic() + _PATIENCE
    while before is not None and (_threads() or 0) > before and time.monotonic() < deadline:
        time.sleep(0.0001)


def _try(count: int) -> int:
    """The number of ``count`` threads that could be started; they have ended, or are about to."""
    start, gate = original("_thread", "start_new_thread"), original("_thread", "allocate_lock")()
    gate.acquire()
    started = 0
    try:
        for _ in range(count):
            start(_pass, (gate,))
            started += 1
    except RuntimeError:  # "can't start new thread"
        pass
    finally:
        gate.release()
    return started


def _pass(gate: Any) -> None:
    with gate:
        pass


def _threads() -> int | None:
    try:
        return os.stat("/proc/self/task").st_nlink - 2  # a directory a thread, and the usual two links
    except OSError:
        return None
