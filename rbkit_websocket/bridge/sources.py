"""Sources of a feed's publications: a SUB socket, or a connection to an embedded server's Unix socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import zmq

from ..transport import LocalConnection, endpoint_path
from ..transport.curve import ClientKeys
from ..transport.wire import WANTS_PUBLICATIONS
from .hoard import Hoard
from .readiness import READ, Readiness
from .zmqlink import Link, bridge_socket

__all__ = ["Source", "publications"]

# Bytes from which on a message is not copied: sharing costs more than a copy of a small message, and saves a third of
# the CPU for large ones.
_LARGE: Final = 64 * 1024

Publication = bytes | memoryview


class Source(Protocol):
    """Published messages of one server."""

    @property
    def refusal(self) -> str | None:
        """The server's reason for refusing us; None when it is only absent, or there."""

    @property
    def ended(self) -> bool:
        """Whether no more messages will come."""

    def connected(self) -> bool | None:
        """Whether the first attempt to reach the server has succeeded; None as long as it is under way."""

    def messages(self) -> Iterator[Publication]:
        """Messages that have come in, until none is at hand."""

    def wait(self) -> None:
        """Waits until there may be more.

        Raises:
            Flooded: the server sends without end and without a whole message, or libzmq has given it up.
        """

    def close(self) -> None:
        """Closes the source, when no greenlet waits any more. Closing twice is fine."""


def publications(endpoint: str, keys: ClientKeys | None, most: int) -> Source:
    """The source at ``endpoint``, which is tried from now on.

    Args:
        most: bytes that a message over ZeroMQ may have.

    Raises:
        NoRoom: libzmq cannot be let into this process.
        OSError, zmq.ZMQError: no descriptor is left, or the endpoint is wrong.
    """
    path = endpoint_path(endpoint)
    return _ZmqSource(endpoint, keys, most) if path is None else _LocalSource(path)


class _ZmqSource:
    refusal = None  # a server refuses the command wire first
    ended = False  # libzmq keeps trying

    def __init__(self, endpoint: str, keys: ClientKeys | None, most: int) -> None:
        self._sub = bridge_socket(zmq.SUB, endpoint, keys, most)
        self._sub.subscribe(b"")
        self._hoard = Hoard(most)
        try:
            self._link = Link(self._sub, endpoint, keys, self._hoard)
            self._sub.connect(endpoint)
        except zmq.ZMQError:  # out of descriptors, or no endpoint
            self._sub.close(0)
            raise
        self._readiness = Readiness(self._sub.FD, self._link.monitor.FD)
        self._connected: bool | None = None
        self._large = False
        self._taken = False

    def connected(self) -> bool | None:
        """Follows the first attempt only: each session's own command wire tells of later losses."""
        self._link.look()
        if self._connected is None and (self._link.up or self._link.unreachable):
            self._connected = self._link.up
        return self._connected

    def messages(self) -> Iterator[Publication]:
        while True:
            try:
                message = self._sub.recv(zmq.NOBLOCK, copy=not self._large)
            except zmq.Again:
                break
            data = message if isinstance(message, bytes) else message.buffer
            self._large = len(data) >= _LARGE
            self._taken = True
            yield data
        if self._taken:
            self._taken = False
            self._hoard.taken()

    def wait(self) -> None:
        self._link.look()
        if not int(self._sub.get(zmq.EVENTS)) & zmq.POLLIN:
            self._hoard.check()
            self._readiness.wait(self._hoard.patience)

    def close(self) -> None:
        if self._sub.closed:
            return
        # The watchers before the sockets, whose descriptors are used again.
        self._readiness.close()
        self._link.close()
        self._sub.close(0)


class _LocalSource:
    def __init__(self, path: str) -> None:
        self._connection = LocalConnection(path, WANTS_PUBLICATIONS)
        self._readiness = Readiness(self._connection.descriptor)

    @property
    def refusal(self) -> str | None:
        return self._connection.problem

    @property
    def ended(self) -> bool:
        return self._connection.over

    def connected(self) -> bool | None:
        if self._connection.up:
            return True
        return False if self._connection.over else None

    def messages(self) -> Iterator[Publication]:
        # Messages already read come first: unread ones stay with the server, which has a bound.
        for look in (False, True):
            if look:
                self._connection.look()
            while (message := self._connection.take()) is not None:
                yield message

    def wait(self) -> None:
        # No more messages come from a server that has gone: the sessions learn it by their command wires.
        self._readiness.wait(events=0 if self._connection.over else READ)

    def close(self) -> None:
        self._readiness.close()
        self._connection.close()
