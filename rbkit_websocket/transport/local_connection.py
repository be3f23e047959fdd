"""A client's connection to an embedded server's Unix socket. Nothing here waits."""

from __future__ import annotations

import errno
import os

# Not socket.socket, which gevent may have patched: waiting is the caller's, on :attr:`LocalConnection.descriptor`.
from _socket import AF_UNIX, SHUT_RDWR, SOCK_STREAM
from _socket import socket as Socket  # noqa: N812 - a class, under its usual name
from collections import deque
from typing import Final
from weakref import WeakSet

from ..errors import ProtocolError
from .wire import ACCEPTED, REFUSED, Splitter, head

__all__ = ["LocalConnection"]

_open: WeakSet[LocalConnection] = WeakSet()

# A chunk of a heap snapshot is some 100 KiB, and as large as an object has references: millions of them.
_MOST: Final = 1024 * 1024 * 1024
_READ: Final = 256 * 1024


class LocalConnection:
    """A client's connection.

    Args:
        path: of the server's socket.
        purpose: :data:`~.wire.WANTS_COMMANDS` or :data:`~.wire.WANTS_PUBLICATIONS`.

    Attributes:
        up: the server has accepted the connection.
        over: there is no connection, or no longer.
        problem: why, in the server's words or the system's; None when the server has simply gone.
        received: bytes that :meth:`take` has not given out yet.

    Raises:
        OSError: no descriptor can be had.
    """

    def __init__(self, path: str, purpose: bytes) -> None:
        self.up = self.over = False
        self.problem: str | None = None
        self._messages: deque[bytes] = deque()
        self._splitter = Splitter(_MOST)
        self._unsent = memoryview(head(len(purpose)) + purpose)
        self._socket = Socket(AF_UNIX, SOCK_STREAM)
        self._socket.setblocking(False)
        _open.add(self)
        try:
            self._socket.connect(path)
        except OSError as error:
            # A Unix socket's connection is there at once or not at all.
            self.over = True
            if error.errno == errno.EAGAIN:
                self.problem = "too many others wait for it"
            elif error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                self.problem = os.strerror(error.errno or 0)
        else:
            self._send()

    @property
    def descriptor(self) -> int:
        """The descriptor to wait for, unless the connection is over; -1 once it is closed."""
        return self._socket.fileno()

    @property
    def unsent(self) -> bool:
        """Whether the descriptor has to become writable as well."""
        return bool(self._unsent) and not self.over

    def send(self, message: bytes) -> bool:
        """Sends a message, now or as soon as the server reads it; False when there is no server."""
        if self.over:
            return False
        self._unsent = memoryview(bytes(self._unsent) + head(len(message)) + message)
        self._send()
        return not self.over

    def look(self) -> None:
        """Reads a few hundred KiB at most; the descriptor stays readable if there is more."""
        if self.over:
            return
        self._send()
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(None if error.errno == errno.ECONNRESET else os.strerror(error.errno or 0))
            return
        if not data:
            self._end(None)
            return
        self._splitter.feed(data)
        try:
            for message in self._splitter.messages():
                if self.up:
                    self._messages.append(message)
                elif message == ACCEPTED:
                    self.up = True
                else:
                    text = message[len(REFUSED) :] if message.startswith(REFUSED) else b"no Rbkit server"
                    self._end(text.decode("utf-8", "replace"))
                    return
        except ProtocolError as error:
            self._end(str(error))

    def take(self) -> bytes | None:
        """The next message that has come, or None."""
        return self._messages.popleft() if self._messages else None

    def sever(self) -> None:
        """Takes the parent's connection away from this copy in a forked child.

        A fork copies greenlets, and an event loop still watches the number: it finds a connection that has hung up.
        """
        if self._socket.fileno() >= 0:
            dead = Socket(AF_UNIX, SOCK_STREAM)
            os.dup2(dead.fileno(), self._socket.fileno(), inheritable=False)
            dead.close()
        self.over = True
        self.up = False

    def close(self) -> None:
        """Ends it. A copy of the descriptor in a forked child does not keep it open."""
        self.over = True
        self.up = False
        try:
            self._socket.shutdown(SHUT_RDWR)
        except OSError:
            pass  # it was not, or is no more
        self._socket.close()

    def _send(self) -> None:
        if not self._unsent:
            return
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # The server's last words may still be read, and tell why.
            self._unsent = memoryview(b"")

    def _end(self, problem: str | None) -> None:
        self.over = True
        self.up = False
        self.problem = problem


def _after_fork_in_child() -> None:
    for connection in tuple(_open):
        try:
            connection.sever()
        except OSError:
            pass  # no descriptor for that: the parent's end is told by its shutdown alone


os.register_at_fork(after_in_child=_after_fork_in_child)
