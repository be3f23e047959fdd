"""Wires for a session's commands: a REQ socket of its own, or a connection to an embedded server's Unix socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import zmq

from ..transport import LocalConnection, endpoint_path
from ..transport.curve import ClientKeys
from ..transport.wire import WANTS_COMMANDS
from .hoard import Hoard
from .readiness import READ, WRITE
from .zmqlink import Link, bridge_socket

__all__ = ["Wire", "command_wire"]

_GOODBYE_LINGER: Final = 500  # milliseconds, in libzmq's thread


class Wire(Protocol):
    """One command at a time goes out, and its answer comes back.

    Attributes:
        up: the server is there.
        unreachable: an attempt to reach it has failed, and none has succeeded since.
        final: no other attempt will be made.
        refusal: why the server refused us; None when it is only absent.
        losses: how often the server has been lost. A server that came back between two looks is up, but does not know
            the former one's commands.
        undecided: the server has been lost, and a look will soon tell whether for good.
    """

    @property
    def up(self) -> bool: ...
    @property
    def unreachable(self) -> bool: ...
    @property
    def final(self) -> bool: ...
    @property
    def refusal(self) -> str | None: ...
    @property
    def losses(self) -> int: ...
    @property
    def undecided(self) -> bool: ...

    @property
    def patience(self) -> float | None:
        """Seconds after which to look even without news; None: never."""

    @property
    def descriptors(self) -> Sequence[int]:
        """The descriptors that tell of news; the same while it is open."""

    @property
    def events(self) -> int:
        """Events to wait for: READ and WRITE; 0: there will be no more news."""

    def look(self) -> None:
        """Reads the news; the descriptors are quiet afterwards and may be waited for.

        Raises:
            Flooded: the server sends without end and without a whole answer, or libzmq has given it up.
        """

    def send(self, command: bytes) -> bool:
        """Sends a command; False when there is no server."""

    def receive(self) -> bytes | None:
        """The answer, if it has come."""

    def close(self, goodbye: bytes | None = None) -> None:
        """Closes the wire, when no greenlet waits any more. Closing twice is fine.

        Args:
            goodbye: a last command without an answer, where the server does not see the end by itself.
        """


def command_wire(endpoint: str, keys: ClientKeys | None, most: int) -> Wire:
    """A wire to the server at ``endpoint``, which is tried from now on.

    Args:
        most: bytes that an answer over ZeroMQ may have.

    Raises:
        NoRoom: libzmq cannot be let into this process.
        OSError, zmq.ZMQError: no descriptor is left, or the endpoint is wrong.
    """
    path = endpoint_path(endpoint)
    return _ZmqWire(endpoint, keys, most) if path is None else _LocalWire(path)


class _ZmqWire:
    final = False  # libzmq keeps trying
    events = READ

    def __init__(self, endpoint: str, keys: ClientKeys | None, most: int) -> None:
        self._req = bridge_socket(zmq.REQ, endpoint, keys, most)
        # There is one answer at a time, even if the server sends more.
        self._req.rcvhwm = 1
        # Correlated: libzmq drops an answer to no request of ours, instead of taking it for the next one.
        self._req.req_correlate = 1
        self._req.req_relaxed = 1
        self._hoard = Hoard(most)
        try:
            self._link = Link(self._req, endpoint, keys, self._hoard)
        except zmq.ZMQError:  # out of descriptors
            self._req.close(0)
            raise
        try:
            self._req.connect(endpoint)
        except zmq.ZMQError:
            self.close()
            raise
        self.descriptors = (self._req.FD, self._link.monitor.FD)

    @property
    def patience(self) -> float:
        return self._hoard.patience

    @property
    def up(self) -> bool:
        return self._link.up

    @property
    def unreachable(self) -> bool:
        return self._link.unreachable

    @property
    def refusal(self) -> str | None:
        return self._link.refusal

    @property
    def losses(self) -> int:
        return self._link.losses

    @property
    def undecided(self) -> bool:
        return self._link.undecided

    def look(self) -> None:
        self._link.look()
        if not int(self._req.get(zmq.EVENTS)) & zmq.POLLIN:
            self._hoard.check()

    def send(self, command: bytes) -> bool:
        try:
            self._req.send(command, zmq.NOBLOCK)
        except zmq.ZMQError:  # the peer went away since we looked
            return False
        return True

    def receive(self) -> bytes | None:
        try:
            answer = self._req.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None
        self._hoard.taken()
        return answer

    def close(self, goodbye: bytes | None = None) -> None:
        if self._req.closed:
            return
        lingers = goodbye is not None and self.send(goodbye)
        self._link.close()
        self._req.close(_GOODBYE_LINGER if lingers else 0)


class _LocalWire:
    final = True  # a server that has gone comes back at another path, if at all
    undecided = False
    patience = None

    def __init__(self, path: str) -> None:
        self._connection = LocalConnection(path, WANTS_COMMANDS)
        self.descriptors = (self._connection.descriptor,)

    @property
    def events(self) -> int:
        connection = self._connection
        return 0 if connection.over else READ | (WRITE if connection.unsent else 0)

    @property
    def up(self) -> bool:
        return self._connection.up

    @property
    def unreachable(self) -> bool:
        return self._connection.over

    @property
    def refusal(self) -> str | None:
        return self._connection.problem

    @property
    def losses(self) -> int:
        return int(self._connection.over)

    def look(self) -> None:
        self._connection.look()

    def send(self, command: bytes) -> bool:
        return self._connection.send(command)

    def receive(self) -> bytes | None:
        return self._connection.take()

    def close(self, goodbye: bytes | None = None) -> None:
        self._connection.close()
