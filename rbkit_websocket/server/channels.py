"""Ways to the server's thread: its Unix socket, ZeroMQ where ports are configured, and a pipe."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

from ..system.clock import time
from ..system.unpatched import original
from ..transport.curve import ServerKeys
from .door import Door

__all__ = ["Channels", "Sender"]

_READABLE: Final = 1  # select.POLLIN


class Sender(Protocol):
    """The sender of a command."""

    def answer(self, message: bytes) -> None:
        """Sends the answer; a client that has gone gets nothing."""

    @property
    def client(self) -> str:
        """A name for the connection that the command came through."""


class Channels:
    """The server's sockets: bound by the starting thread, then used by the server's alone, but for :meth:`wake`.

    Without ZeroMQ endpoints there is nothing of libzmq: no context, no thread, no listener.

    Args:
        allocate_lock: the original ``_thread.allocate_lock``.
        keys: the server's CURVE keys; None: TCP endpoints are open.
        warn: gets a line about clients that are not let in.

    Raises:
        OSError: no pipe can be had.
    """

    def __init__(
        self,
        allocate_lock: Callable[[], Any],
        keys: ServerKeys | None = None,
        warn: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._lock = allocate_lock()
        self._keys = keys
        self._warn = warn
        self._poll = original("select", "poll")()
        self._doors: list[Door] = []
        self._zmq: Any = None
        self._had = False
        self._pipe: tuple[int, int] | None = os.pipe()
        for descriptor in self._pipe:
            os.set_blocking(descriptor, False)
        self._poll.register(self._pipe[0], _READABLE)

    def listen(self, path: str) -> None:
        """Listens at a Unix socket, in place of the one before. Connections stay.

        Raises:
            OSError: it cannot be bound.
        """
        door = Door(path, self._poll)
        for before in self._doors:
            before.shut()
        self._doors = [*(before for before in self._doors if before.used), door]

    def bind(self, pub: Sequence[str], req: Sequence[str]) -> None:
        """Binds ZeroMQ endpoints, more of them any time.

        Raises:
            NoRoom: libzmq cannot be let into this process.
            OSError: one of them cannot be bound; those before it are.
        """
        if not pub and not req:
            return
        if self._zmq is None:
            # Late: without ports libzmq is not loaded.
            from .zmqsockets import ZmqSockets

            self._zmq = ZmqSockets(self._poll, self._keys, self._warn)
        self._zmq.bind(pub, req)

    def _all(self) -> list[Any]:
        return self._doors if self._zmq is None else [*self._doors, self._zmq]

    def wait(self, seconds: float | None) -> None:
        """Returns when a socket has news, after a call of :meth:`wake`, or when the time is over (None: never)."""
        dues = [part.deadline - time.monotonic() for part in self._all() if part.deadline is not None]
        if any(part.ready for part in self._all()):
            dues = [0.0]
        elif seconds is not None:
            dues.append(seconds)
        for descriptor, events in self._poll.poll(max(0, math.ceil(min(dues) * 1000)) if dues else None):
            if self._pipe is not None and descriptor == self._pipe[0]:
                self._drain(descriptor)
            else:
                for door in self._doors:
                    door.handle(descriptor, events)
        for part in self._all():
            part.turn()

    @staticmethod
    def _drain(descriptor: int) -> None:
        try:
            os.read(descriptor, 4096)
        except OSError:
            pass

    def wake(self) -> None:
        """Ends a :meth:`wait`, now or the next one; from any thread."""
        # The lock keeps close() from giving the descriptor's number to other code in between. It is never held while
        # anything waits.
        with self._lock:
            if self._pipe is not None:
                try:
                    os.write(self._pipe[1], b"\0")
                except OSError:
                    pass  # full: it is awake already

    @property
    def audience(self) -> bool:
        """Whether there is a subscriber."""
        return any(door.listeners for door in self._doors) or (self._zmq is not None and bool(self._zmq.topics))

    def subscriptions(self) -> bool:
        """Reads which subscribers have come and gone; True when the last one has left since the last call."""
        if self._zmq is not None:
            self._zmq.subscriptions()
        had, self._had = self._had, self.audience
        return had and not self._had

    def left(self) -> list[str]:
        """Clients that are known to have gone since the last call; ZeroMQ's say goodbye, or nothing at all."""
        gone: list[str] = []
        for door in self._doors:
            gone += door.left
            door.left.clear()
        return gone

    def commands(self) -> Iterator[tuple[str, Sender]]:
        """Commands that have come in, each with its sender."""
        for part in self._all():
            yield from part.commands()

    def publish(self, message: bytes) -> None:
        """Sends to all subscribers; one that is too far behind loses the message."""
        for part in self._all():
            part.publish(message)

    def close(self) -> None:
        """Ends all connections. Not for :meth:`wake`'s pipe."""
        parts, self._doors, self._zmq = self._all(), [], None
        for part in parts:
            part.close()

    def close_pipe(self) -> None:
        """Closes the pipe, last of all; :meth:`wake` then does nothing."""
        with self._lock:
            pipe, self._pipe = self._pipe, None
            for descriptor in pipe or ():
                os.close(descriptor)

    def after_in_child(self, allocate_lock: Callable[[], Any]) -> None:
        """Closes the copies in a forked child, and leaves everything of ZeroMQ untouched. The lock may be held by a
        thread of the parent."""
        self._lock = allocate_lock()
        for door in self._doors:
            door.after_in_child()
        self.close_pipe()
