"""How a libzmq context comes into the application's process: only where it cannot end that process.

libzmq starts two threads and opens two epoll descriptors for a context, and ends the process where one of these cannot
be had (``epoll.cpp``, ``thread.cpp`` of libzmq 4.3: assertions, which no caller can catch). Afterwards a socket that
cannot be had is an error as usual, and so is a connection.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import zmq

from .clock import time
from .errors import NoRoom
from .headroom import require_descriptors, require_threads

__all__ = ["new_context"]

# Two for epoll, three for mailboxes, one for the first socket; the rest is for threads that open something just then.
_RESERVED: Final = 32
_THREADS: Final = 2


def new_context() -> zmq.Context[Any]:
    """A context whose threads run.

    Raises:
        NoRoom: the process has too few descriptors or threads left to be sure of that.
    """
    close = _closer()
    require_threads(_THREADS)
    require_descriptors(_RESERVED)
    reserved: list[int] = []
    try:
        # Held, so that the application cannot take them before libzmq does.
        while len(reserved) < _RESERVED:
            reserved.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        for descriptor in reserved:
            os.close(descriptor)
        raise NoRoom(f"{error.strerror} in this process; raise its limit (ulimit -n)") from error
    # From here on no other thread may run Python code: whoever has just got the interpreter's lock keeps it for the
    # switch interval (5 ms), and nothing below gives it away. A thread in the middle of a system call takes one.
    time.sleep(0)
    for descriptor in reserved:
        close(descriptor)
    context: zmq.Context[Any] = zmq.Context()
    context.socket(zmq.PAIR).close(0)  # the first socket starts the threads
    return context


def _closer() -> Callable[[int], object]:
    """``close(2)`` without giving the interpreter's lock away, as ``os.close()`` does."""
    try:
        import ctypes

        return ctypes.PyDLL(None).close
    except (ImportError, OSError, AttributeError):  # an interpreter without ctypes, or a C library without names
        return os.close
