"""libzmq's context in the application's process: made only where making it cannot end the process.

libzmq starts two threads and opens two epoll descriptors for a context, and ends the process where it cannot get them
(``epoll.cpp``, ``thread.cpp`` of libzmq 4.3: assertions, which no caller can catch). Afterwards a lack of descriptors
is an ordinary error.
"""

from __future__ import annotations

from typing import Any, Final

import zmq

from ..system.headroom import require_threads, with_room

__all__ = ["new_context"]

# Two for epoll, three for mailboxes, one for the first socket; the rest for other threads that open descriptors.
_DESCRIPTORS: Final = 32
_THREADS: Final = 2
_MAX_SOCKETS: Final = 32_768


def new_context() -> zmq.Context[Any]:
    """A context whose threads run.

    Raises:
        NoRoom: the process has too few descriptors or threads left.
    """
    require_threads(_THREADS)
    return with_room(_DESCRIPTORS, _start)


def _start() -> zmq.Context[Any]:
    context: zmq.Context[Any] = zmq.Context()
    # Before the first socket, which makes room for as many. A session has three (REQ and the two ends of its monitor),
    # and 1023 would be all there are.
    context.set(zmq.MAX_SOCKETS, _MAX_SOCKETS)
    context.socket(zmq.PAIR).close(0)  # the first socket starts the threads
    return context
