"""One WebSocket connection from its 101 to its last byte: receiving, closing once, pings and deadlines."""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import termios
from collections.abc import Callable, Iterator
from socket import SHUT_RDWR, SHUT_WR, socketpair
from typing import Final

from gevent.event import Event
from gevent.socket import socket

from ..system.clock import time
from .frames import Closed, HardenedWebSocket, encode_close, encode_frame
from .outbox import Outbox
from .turns import TURN, Turn

__all__ = ["Session"]

log = logging.getLogger(__name__)

# The peer has this long to answer a close frame. gunicorn looks once a second whether its connections are gone, and
# a session may delay a worker's exit by a second at most.
CLOSE_TIMEOUT: Final = 1.0
LEAVING_TIMEOUT: Final = 0.5


class Session:
    """A WebSocket connection of ours. Lives in the greenlet of its request; a :class:`~.keeper.Keeper` calls ``tick``.

    Args:
        sock: the connected gevent socket, which stays the web server's: it is shut down here, never closed.
        read: exactly n bytes of the stream, fewer at its end.
        leaving: whether the web server has been told to stop.
        max_message: bytes a client's message may have.
        backlog: bytes of publications that may wait for this client.
        ping_interval: seconds between pings; a client that shows no sign of life for two of them is given up.
        notice: see :class:`~.outbox.Outbox`.
    """

    def __init__(
        self,
        sock: socket,
        read: Callable[[int], bytes],
        leaving: Callable[[], bool],
        *,
        max_message: int,
        backlog: int,
        ping_interval: float,
        notice: Callable[[int], bytes] | None = None,
    ) -> None:
        self._sock = sock
        self._read = read
        self._leaving = leaving
        self._ping_interval = ping_interval
        self._aborted = False
        self._unacknowledged = 0
        # Reading bytes that are there already never switches greenlets.
        self._turn = Turn()
        self._ws = HardenedWebSocket(self._read_alive, self._pong, max_message)
        self._deadline: float | None = None
        now = time.monotonic()
        self._received = now
        self._next_ping = now + ping_interval
        self.outbox = Outbox(sock, backlog, notice)
        self.ended = Event()
        self.close_code: int | None = None
        self.close_reason = ""

    @property
    def open(self) -> bool:
        """Whether no close frame has been sent or received, and neither side has given up."""
        return self.close_code is None

    def messages(self) -> Iterator[bytes]:
        """The client's messages until the connection ends, one way or another; never raises."""
        while True:
            try:
                message = self._ws.receive()
            except Closed as end:
                self._end(end)
                return
            if self.open:  # frames behind our close frame do not count (RFC 6455 section 5.5.1)
                yield message

    def send_text(self, text: str) -> None:
        """Sends a text message ahead of waiting publications."""
        self.outbox.send(encode_frame(HardenedWebSocket.OPCODE_TEXT, text.encode()))

    def close(self, code: int, reason: str, timeout: float = CLOSE_TIMEOUT) -> None:
        """Starts the closing handshake; only the first call counts. Does not wait.

        Args:
            code: close code of RFC 6455 section 7.4.
            reason: for the client; cut to 123 bytes.
            timeout: seconds the peer has for its answer, then the connection is shut down.
        """
        if not self.open:
            return
        self.close_code, self.close_reason = code, reason
        self._deadline = time.monotonic() + timeout
        self.outbox.seal(encode_close(code, reason))

    def abort(self, reason: str) -> None:
        """Shuts the connection down at once; the reader and the writer see the end of their stream."""
        if self.open:
            self.close_code, self.close_reason = 1006, reason
        self._aborted = True
        self.outbox.seal()
        try:
            self._sock.shutdown(SHUT_RDWR)
        except OSError:
            pass  # already gone

    def finish(self, *, wait: bool) -> None:
        """Lets the last bytes out, within the deadline of the close, and stops the writer.

        Args:
            wait: False in a greenlet that is being killed: only bytes that the kernel takes at once are sent.
        """
        if wait and not self.outbox.broken:
            remaining = CLOSE_TIMEOUT if self._deadline is None else self._deadline - time.monotonic()
            self.outbox.flush(max(0.0, remaining))
        self.outbox.stop()
        self.ended.set()

    def tick(self, now: float, lag: float) -> None:
        """Called by the keeper some 20 times a second.

        Args:
            now: ``time.monotonic()``.
            lag: seconds by which this call is late because the event loop was blocked. The client is not to
                blame, so its clocks stand still for as long.
        """
        self._received += lag
        self.outbox.progress += lag
        if self._deadline is not None:
            self._deadline += lag
            if now >= self._deadline:
                self.abort("no answer to the close frame")
            return
        self._look_for_progress(now)
        if self._leaving():
            self.close(1001, "the web server is going away", LEAVING_TIMEOUT)
        elif self.outbox.waiting and now - self.outbox.progress > 2 * self._ping_interval:
            self.abort(f"the client took nothing for {2 * self._ping_interval:g} s")
        elif now - self._received > 2 * self._ping_interval:
            self.close(1011, f"no sign of life for {2 * self._ping_interval:g} s")
        elif now >= self._next_ping:
            self._next_ping = now + self._ping_interval
            self.outbox.send_control(encode_frame(HardenedWebSocket.OPCODE_PING, b""))

    def _look_for_progress(self, now: float) -> None:
        """Whether the client reads: then it is alive, even if its pong comes behind megabytes still to be read."""
        seen = self._received
        if self.outbox.waiting:
            self._received = max(self._received, self.outbox.progress)
            seen = self.outbox.progress
        if now - seen < self._ping_interval:
            return
        try:
            # Bytes that the peer has not acknowledged (tcp(7), unix(7)).
            answer = fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        except OSError:
            return
        (unacknowledged,) = struct.unpack("i", answer)
        if unacknowledged < self._unacknowledged:
            # The kernel asks for more only once a third of its buffer is free, which may be a megabyte later.
            self._received = self.outbox.progress = now
        self._unacknowledged = unacknowledged

    def sever(self) -> None:
        """Takes the connection, which is the parent's, away from this copy of the session in a forked child.

        A fork copies its greenlets, and they run on with the child's event loop. They find a socket whose peer has hung
        up in the descriptor's place, so they end without touching the connection.
        """
        dead, peer = socketpair()
        os.dup2(dead.fileno(), self._sock.fileno(), inheritable=False)
        dead.close()
        peer.close()

    def _read_alive(self, size: int) -> bytes:
        self._turn.check()
        if self._aborted:
            raise ConnectionAbortedError  # bytes that the kernel still has are not read
        began = time.monotonic()
        data = self._read(size)
        self._received = time.monotonic()
        if self._received - began > TURN:
            self._turn.renew()  # it has waited for the client
        return data

    def _pong(self, frame: bytes) -> None:
        self.outbox.send_control(frame)

    def _end(self, end: Closed) -> None:
        if end.by_peer:
            if self.open:
                self.close_code, self.close_reason = 1005 if end.code is None else end.code, end.reason
                self.outbox.seal(encode_close(end.code, end.reason))
        elif end.code is None:
            self.abort(end.reason)
        else:
            self.close(end.code, end.reason)
            self._linger()

    def _linger(self) -> None:
        """Reads on after a violation, and ignores the bytes, until the peer has hung up or the deadline has passed.

        Closing a socket with unread bytes resets it, and the reset would overtake the close frame that explains it.
        """
        if self.outbox.flush(CLOSE_TIMEOUT):
            try:
                self._sock.shutdown(SHUT_WR)
                while self._sock.recv(65536):
                    self._turn.check()
            except OSError:
                pass
