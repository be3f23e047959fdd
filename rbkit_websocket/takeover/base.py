"""The interface of a web server's adapter, and functions that adapters share."""

from __future__ import annotations

import gc
import os
import signal
import socket as _socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from gevent.socket import socket

from ..system.loaded import loaded

__all__ = ["BufferedTakeover", "StartResponse", "Takeover", "gunicorn_worker", "worker_leaving"]

StartResponse = Callable[..., Any]


class Takeover(ABC):
    """One connection on its way out of the web server's hands.

    The life of one: ``claim()`` says whether the server is known, ``open()`` sends the 101, the session talks over
    ``sock`` and ``read``, ``finish()`` gives the connection back so that the server ends it in silence: no second
    response, no traceback, no lingering.

    Attributes:
        name: the server's name for people.
        reads_on: the server does not let the application end the connection, so the adapter ends it below the server.
        descriptors: the number that a session needs, beside those open already.
        threads: worker threads among which the application and the sessions are divided; None: a session takes none.
        sock: the connected socket; gevent's, once ``open()`` has been called.
    """

    name: ClassVar[str]
    reads_on: ClassVar[bool] = False
    threads: int | None = None
    # Two connections to the server of this process, both ends, and one for a look at the same time.
    descriptors: int = 5

    def __init__(self, sock: socket) -> None:
        self.sock = sock

    @classmethod
    @abstractmethod
    def claim(cls, environ: dict[str, Any]) -> Takeover | None:
        """An instance when this adapter knows the server behind ``environ``, else None. Touches nothing."""

    def refusal(self) -> str | None:
        """The reason why a known server's connection cannot be taken, and what to do; None when it can."""
        return None

    def make_room(self) -> None:  # noqa: B027 - most need nothing
        """Gets scarce resources before the 101. :meth:`finish` gives them back.

        Raises:
            NoRoom: there are too few.
        """

    def leaving(self) -> Callable[[], bool]:
        """A cheap look at whether the server has been told to stop."""
        return worker_leaving()

    @abstractmethod
    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes of what the client sent behind its request, fewer only at the end of the stream."""

    def open(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        """Sends ``101 Switching Protocols`` with ``headers`` through the server's own ``write`` callable (PEP 3333).

        The server then knows its answer: its access log has the 101, and it sends no other answer.
        """
        write = start_response("101 Switching Protocols", headers)
        write(b"")
        self._prepare()

    def _prepare(self) -> None:
        # A server's own time-out on the socket would end a quiet session.
        self.sock.settimeout(None)
        if self.sock.family in (_socket.AF_INET, _socket.AF_INET6):
            # Not every server sets it: an answer behind publications would wait for the client's delayed ACK, 40 ms.
            self.sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)

    def finish(self) -> None:
        """Ends the connection for good; the application returns an empty body then."""
        try:
            self.sock.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass  # the peer was faster
        self._discard()

    @abstractmethod
    def _discard(self) -> None:
        """Discards bytes of the client that the server would parse as its next request.

        Bytes behind a close frame travel past every proxy's checks, so a request smuggled in there must not run.
        """


class BufferedTakeover(Takeover):
    """A take-over with bytes read ahead of the session, by the web server or by itself, in ``_buffer``."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._buffer = bytearray()

    def read(self, size: int) -> bytes:
        buffer = self._buffer
        while len(buffer) < size:
            data = self.sock.recv(max(size - len(buffer), 4096))
            if not data:
                break
            buffer += data
        taken = bytes(buffer[:size])
        del buffer[:size]
        return taken


def worker_leaving() -> Callable[[], bool]:
    """A cheap look at whether this process has been told to stop.

    A gunicorn worker itself looks at its ``alive``: it turns False on SIGTERM, SIGINT, SIGHUP and max_requests alike.
    Under other servers this is unknown.
    """
    worker = gunicorn_worker()
    return _never if worker is None else lambda: not worker.alive


_found: tuple[int, Any] = (0, None)


def gunicorn_worker() -> Any:
    """The gunicorn worker that this process is, or None."""
    global _found
    module = loaded("gunicorn.workers.base")
    if module is None:
        return None
    if _found[0] != os.getpid():
        # SIGTERM's handler is one of its methods, unless the application has set a handler of its own: then
        # the worker is searched for, once.
        worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if not isinstance(worker, module.Worker):
            workers = (obj for obj in gc.get_objects() if isinstance(obj, module.Worker))
            worker = next((worker for worker in workers if worker.pid == os.getpid()), None)
        _found = (os.getpid(), worker)
    return _found[1]


def _never() -> bool:
    return False
