"""Servers of threads: a session in the thread of its request, over a socket that blocks.

In a thread that gevent has not patched, the session gets an event loop of its own over a copy of the descriptor. Both
end with it, so a thread that goes back to its pool is as it was. Under monkey patching "threads" are greenlets and
their sockets gevent's already: then nothing is copied.
"""

from __future__ import annotations

import os
import socket as _socket
import sys
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Final

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub
from gevent.socket import socket

from ..system.headroom import with_room
from .base import BufferedTakeover, StartResponse, worker_leaving

__all__ = ["ThreadTakeover", "read_ahead"]

_TLS: Final = (
    "this connection is TLS, whose state lives in the web server's own thread and cannot be shared with a session. "
    "Have a proxy end TLS in front of this server, or use one whose TLS gevent knows: "
    "gunicorn -k gevent --certfile ... --keyfile ..."
)
_ONE_THREAD: Final = "the only worker thread would be kept from the application by a session. Start this server with "

# libev opens three or four for an event loop, and where there are none ends the process, or tries for ever.
_HUB: Final = 16


class ThreadTakeover(BufferedTakeover):
    """Takes the connection of a worker thread.

    Attributes:
        more_threads: the server's option for more threads.
    """

    reads_on = True
    more_threads: ClassVar[str] = ""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._server_sock = sock
        self._hub: Hub | None = None

    def refusal(self) -> str | None:
        # gevent's own sockets may be TLS; of other sockets only the plain kind has no state but its descriptor.
        if not isinstance(self._server_sock, socket) and type(self._server_sock) is not _socket.socket:
            return _TLS
        return _ONE_THREAD + self.more_threads if self.threads == 1 else None

    def leaving(self) -> Callable[[], bool]:
        told = worker_leaving()
        stopping = self._stopping()
        if isinstance(self._server_sock, socket):
            return lambda: told() or stopping()
        # Python's end waits for threads that are no daemons, and tells them only by this.
        main = sys.modules["threading"].main_thread()
        return lambda: told() or stopping() or not main.is_alive()

    def _stopping(self) -> Callable[[], bool]:
        """A look at whether this very server is being stopped."""
        return lambda: False

    @property
    def _needs_hub(self) -> bool:
        # An event loop set up in this thread before is needed further; a new one is ours.
        return not isinstance(self._server_sock, socket) and get_hub_if_exists() is None

    @property
    def descriptors(self) -> int:  # type: ignore[override]
        return super().descriptors + (_HUB if self._needs_hub else 0)

    def make_room(self) -> None:
        if self._needs_hub:
            self._hub = with_room(_HUB, gevent.get_hub)

    def open(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        self._buffer += self._read_ahead()
        self._send_101(start_response, headers)
        if not isinstance(self._server_sock, socket):
            self._timeout = self._server_sock.gettimeout()
            copy = os.dup(self._server_sock.fileno())
            self.sock = socket(fileno=copy)
        self._prepare()

    def _send_101(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        start_response("101 Switching Protocols", headers)(b"")

    @abstractmethod
    def _read_ahead(self) -> bytes:
        """Takes the bytes that the server has read beyond the request, without waiting for more."""

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            copy, self.sock = self.sock, self._server_sock
            if copy is not self.sock:
                copy.close()
                # The copy has made the connection itself non-blocking, which the server does not know.
                _set_timeout(self.sock, self._timeout)
            hub, self._hub = self._hub, None
            if hub is not None:
                _end(hub)

    def _discard(self) -> None:
        # On Linux shutdown(2) keeps what has been received; after it nothing more is queued, so this ends.
        try:
            while self._read_ahead() or self.sock.recv(65536):
                pass
        except OSError:
            pass  # reset by the peer: nothing is left to read either


def _end(hub: Hub) -> None:
    """Frees a thread's event loop and its hub."""
    hub.destroy(destroy_loop=True)
    if not hub.dead:
        # gevent leaves the hub's greenlet suspended behind its loop, where it would stay as long as the thread does.
        hub.throw(gevent.GreenletExit)


def read_ahead(rfile: Any, sock: Any) -> bytes:
    """Takes the bytes that a buffered file holds, or that its socket has now; never waits.

    Args:
        rfile: an ``io.BufferedReader``, of the C or the Python kind, over ``sock``.
    """
    timeout = sock.gettimeout()
    sock.settimeout(0)  # looking into an empty buffer reads once
    try:
        return bytes(rfile.read(len(rfile.peek(0))))
    except (OSError, ValueError):  # reset by the peer, or closed
        return b""
    finally:
        _set_timeout(sock, timeout)


def _set_timeout(sock: Any, timeout: float | None) -> None:
    try:
        sock.settimeout(timeout)
    except OSError:
        pass  # closed by the server meanwhile
