"""The server's sockets: XPUB for events, ROUTER for commands, and a pipe that wakes whoever waits for them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import zmq

__all__ = ["Channels"]

# Messages that may wait for one slow subscriber. A heap message is about 100 KiB, so a subscriber that stalls in the
# middle of a snapshot costs some 50 MiB at the most; at snapshot_rate it may fall behind by seconds and lose nothing.
HIGH_WATER: Final = 500
# Commands are short words; what is longer is not for us.
_MAX_COMMAND: Final = 64 * 1024
_COMMANDS_A_TURN: Final = 50


class Channels:
    """Made and bound by whoever starts the server, then used by the server's thread alone, but for :meth:`wake`.

    Args:
        allocate_lock: the original ``_thread.allocate_lock``.

    Raises:
        zmq.ZMQError, OSError: no context or pipe can be had.
    """

    def __init__(self, allocate_lock: Callable[[], Any]) -> None:
        self._lock = allocate_lock()
        self._context: Any = zmq.Context()
        self._poller = zmq.Poller()
        self._pub: Any = None
        self._req: Any = None
        self.topics: set[bytes] = set()
        self._pipe: tuple[int, int] | None = None
        try:
            self._pipe = os.pipe()
        except OSError:
            self._context.term()
            raise
        for descriptor in self._pipe:
            os.set_blocking(descriptor, False)
        self._poller.register(self._pipe[0], zmq.POLLIN)

    def bind(self, pub: Sequence[str], req: Sequence[str]) -> None:
        """Binds endpoints, more of them any time.

        Raises:
            zmq.ZMQError: one of them cannot be bound; those before it are.
        """
        if pub and self._pub is None:
            # XPUB, because it tells who subscribes and who leaves.
            self._pub = self._socket(zmq.XPUB)
            self._pub.sndhwm = HIGH_WATER
        for endpoint in pub:
            self._pub.bind(endpoint)
        if req and self._req is None:
            self._req = self._socket(zmq.ROUTER)
            self._req.maxmsgsize = _MAX_COMMAND
        for endpoint in req:
            self._req.bind(endpoint)

    def _socket(self, kind: int) -> Any:
        socket = self._context.socket(kind)
        socket.linger = 0
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def wait(self, seconds: float | None) -> None:
        """Returns when something has come in, somebody called :meth:`wake`, or the time is over (None: never)."""
        ready = dict(self._poller.poll(None if seconds is None else max(0, math.ceil(seconds * 1000))))
        if self._pipe is not None and self._pipe[0] in ready:
            try:
                os.read(self._pipe[0], 4096)
            except OSError:
                pass

    def wake(self) -> None:
        """Ends a :meth:`wait`, now or the next one; from any thread."""
        # The lock keeps close() from giving the descriptor's number to somebody else in between. It is never held
        # across anything that waits.
        with self._lock:
            if self._pipe is not None:
                try:
                    os.write(self._pipe[1], b"\0")
                except OSError:
                    pass  # full: it is awake already

    def subscriptions(self) -> bool:
        """Reads who has come and gone into ``topics``; True when the last subscriber has left."""
        had = bool(self.topics)
        while self._pub is not None and (message := _receive(self._pub)) is not None:
            if message[0][:1] == b"\x01":
                self.topics.add(message[0][1:])
            elif message[0][:1] == b"\x00":
                self.topics.discard(message[0][1:])
        return had and not self.topics

    def commands(self) -> Iterator[tuple[str, list[bytes]]]:
        """Up to 50 commands that have come in, each with the envelope that its answer needs."""
        for _ in range(_COMMANDS_A_TURN):
            frames = _receive(self._req) if self._req is not None else None
            if frames is None:
                return
            # The envelope ends with the first empty frame (REQ; correlated REQ puts its number before it). A DEALER
            # that sends none has the identity alone.
            end = frames.index(b"", 1) + 1 if b"" in frames[1:-1] else 1
            body = frames[end] if len(frames) > end else b""
            yield body.decode("utf-8", "replace"), frames[:end]

    def answer(self, envelope: list[bytes], message: bytes) -> None:
        """Answers a command; a client that has gone gets nothing."""
        try:
            self._req.send_multipart([*envelope, message], zmq.NOBLOCK)
        except zmq.ZMQError:
            pass

    def publish(self, message: bytes) -> None:
        """Sends to all subscribers; whoever is more than the high-water mark behind loses it."""
        if self._pub is not None and self.topics:
            try:
                self._pub.send(message, zmq.NOBLOCK)
            except zmq.ZMQError:
                pass

    def close(self) -> None:
        """Sockets first, dropping what is under way: the context's end waits for them. Not for :meth:`wake`'s pipe."""
        for socket in (self._pub, self._req):
            if socket is not None:
                self._poller.unregister(socket)
                socket.close(linger=0)
        self._pub = self._req = None
        self.topics.clear()
        if self._context is not None:
            self._context.term()
            self._context = None

    def close_pipe(self) -> None:
        """Last of all; :meth:`wake` then does nothing."""
        with self._lock:
            pipe, self._pipe = self._pipe, None
            for descriptor in pipe or ():
                os.close(descriptor)

    def after_in_child(self, allocate_lock: Callable[[], Any]) -> None:
        """In a forked child: closes the pipe and leaves everything of ZeroMQ untouched. The lock may be held by a
        thread that is not here."""
        self._lock = allocate_lock()
        self.close_pipe()


def _receive(socket: Any) -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)  # type: ignore[no-any-return]
    except zmq.Again:
        return None
