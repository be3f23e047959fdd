"""All writes of one connection: one order, one bound, one place where a slow client is noticed.

Two greenlets that both call ``sendall`` corrupt a stream, so only the outbox writes to the socket. It tries to send at
once and without waiting; only bytes that the kernel does not take are queued, and only then a greenlet is started to
write them: an idle connection has none.

There are two lanes. Answers, notices and control frames overtake waiting publications (never in the middle of a frame)
and are never dropped. Publications are dropped past ``limit`` bytes and until a quarter of it is left; the client is
told how many. A frame that costs much to make is made when its turn has come, piece by piece.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from socket import MSG_DONTWAIT

import gevent
from gevent.event import Event
from gevent.socket import socket, wait_write

from ..system.clock import time
from .turns import Turn

__all__ = ["Outbox"]

# Seconds between two notices to a client that is losing publications.
_NOTICE_INTERVAL = 1.0

# Pongs that wait unread: RFC 6455 section 5.5.3 allows to answer only the latest ping, so a flood of them is cut off.
_MAX_WAITING_CONTROL = 64

# Memory of a waiting publication's objects beside its bytes: of many tiny ones it is nearly all.
_PLACE = 256

# Bytes given to a TLS socket at once: its send() returns when all of them are written (Python does not set OpenSSL's
# SSL_MODE_ENABLE_PARTIAL_WRITE), so a slow client that takes a whole megabyte would look as if it took nothing.
_TLS_SLICE = 65536

Pieces = Callable[[], Iterator[bytes]]


class Outbox:
    """The outgoing half of a connection.

    Args:
        sock: the connection's gevent socket; TLS sockets know neither ``sendmsg`` nor flags and get plain sends.
        limit: bytes of publications that may wait.
        notice: makes the frame with the number of publications that the client has lost; None: there is no notice.

    Attributes:
        lost: publications dropped so far.
        broken: the socket takes no more bytes, all frames are discarded.
        urgent_bytes: bytes of answers that wait.
        progress: ``time.monotonic()`` of the last byte the kernel took, or when bytes began to wait.
    """

    def __init__(self, sock: socket, limit: int, notice: Callable[[int], bytes] | None = None) -> None:
        self._sock = sock
        self._tls = isinstance(sock, ssl.SSLSocket) or hasattr(sock, "_sslobj")
        self._limit = limit
        self._notice = notice
        self._urgent: deque[tuple[bytes | Pieces, int]] = deque()
        self._bulk: deque[tuple[Sequence[bytes | memoryview] | Pieces, int]] = deque()
        self._bulk_bytes = 0
        self._flight: list[memoryview] = []
        self._pieces: Iterator[bytes] = iter(())  # of the frame in flight
        self._writer: gevent.Greenlet[..., None] | None = None
        self._empty = Event()
        self._empty.set()
        self._sealed = False
        self._dropping = False
        self._told = 0
        self._told_at = float("-inf")
        self.lost = 0
        self.broken = False
        self.urgent_bytes = 0
        self.progress = time.monotonic()

    @property
    def waiting(self) -> bool:
        """Whether bytes are left to be written."""
        return self._writer is not None

    @property
    def backlog(self) -> int:
        """Bytes of publications that wait."""
        return self._bulk_bytes

    def publish(self, buffers: Sequence[bytes | memoryview], size: int, count: int) -> None:
        """Sends ``count`` whole frames, together ``size`` bytes in ``buffers``, or drops them all.

        The buffers are kept by reference and shared with other connections: they must not be changed.
        """
        if self._sealed or self.broken:
            return
        if self._writer is None:
            self._send_now(buffers, size)
        else:
            self._queue(buffers, size, count)

    def publish_later(self, pieces: Pieces, size: int) -> None:
        """Sends one frame that is made while it is written, or drops it unmade.

        Args:
            pieces: makes it. Called by the writer, which gives way between two of them; they may be empty.
            size: bytes that the frame counts for while it waits.
        """
        if not self._sealed and not self.broken:
            self._queue(pieces, size, 1)
            self._start()

    def miss(self, count: int) -> None:
        """Counts publications that were lost on their way here, and tells the client."""
        if not self._sealed and not self.broken:
            self.lost += count
            if self._notice is not None:
                self._start()

    def send(self, frame: bytes) -> None:
        """Sends one frame ahead of all waiting publications."""
        if self._sealed or self.broken:
            return
        if self._writer is None:
            self._send_now((frame,), len(frame))
        else:
            self._put_ahead(frame, len(frame))

    def send_later(self, pieces: Pieces, size: int) -> None:
        """Like :meth:`send`, for a frame that is made while it is written; see :meth:`publish_later`."""
        if not self._sealed and not self.broken:
            self._put_ahead(pieces, size)
            self._start()

    def send_control(self, frame: bytes) -> None:
        """Like :meth:`send`, for a frame that may be left out when too many of them wait."""
        if len(self._urgent) < _MAX_WAITING_CONTROL:
            self.send(frame)

    def seal(self, frame: bytes | None = None) -> None:
        """Takes no more frames: waiting publications are discarded, answers and then ``frame`` are still written."""
        if self._sealed:
            return
        self._bulk.clear()
        self._bulk_bytes = 0
        if frame is not None:
            self.send(frame)
        self._sealed = True

    def flush(self, timeout: float) -> bool:
        """Waits until everything is written; False when ``timeout`` seconds did not suffice or the socket broke."""
        return bool(self._empty.wait(timeout)) and not self.broken

    def wait_for_room(self, size: int) -> None:
        """Waits until at most ``size`` bytes of answers wait: their producer is slowed to the client's pace."""
        while self.urgent_bytes > size and not self.broken:
            # Not for the event: a greenlet that waits for one again and again, with a time-out, beside another one may
            # never wake (gevent 26.9.0), and flush() may be the other.
            gevent.sleep(0.01)

    def stop(self) -> None:
        """Ends the writer for good. The socket is left alone."""
        self.broken = True
        if self._writer is not None:
            self._writer.kill()
            self._writer = None  # one that is killed before its first turn never ran its finally
        self._break()

    def _queue(self, frames: Sequence[bytes | memoryview] | Pieces, size: int, count: int) -> None:
        size += _PLACE
        if self._dropping or self._bulk_bytes + size > self._limit:
            self._dropping = True
            self.lost += count
        else:
            self._bulk.append((frames, size))
            self._bulk_bytes += size

    def _put_ahead(self, frame: bytes | Pieces, size: int) -> None:
        self._urgent.append((frame, size))
        self.urgent_bytes += size

    def _start(self) -> None:
        if self._writer is None:
            self.progress = time.monotonic()
            self._empty.clear()
            self._writer = gevent.spawn(self._write)

    def _send_now(self, buffers: Sequence[bytes | memoryview], size: int) -> None:
        sent = 0
        if not self._tls:
            try:
                sent = self._sock.sendmsg(buffers, (), MSG_DONTWAIT)
            except BlockingIOError:
                pass
            except OSError:
                self._break()
                return
        self.progress = time.monotonic()
        if sent < size:
            self._flight = _rest(buffers, sent)
            self._start()

    def _write(self) -> None:
        turn = Turn()
        try:
            while self._flight or self._next():
                if self._flight:
                    sent = self._send_some()
                    self.progress = time.monotonic()
                    self._flight = _rest(self._flight, sent)
                turn.check()
        except OSError:
            self._break()
        finally:
            # No greenlet switch between the looks at the deques, so no frame can be queued in between.
            self._writer = None
            self._empty.set()

    def _next(self) -> bool:
        """Puts the next frames, or the next piece of one, into flight; False when none waits."""
        if (piece := next(self._pieces, None)) is not None:
            self._flight = _rest((piece,), 0)
            return True
        if self._urgent:
            frame, size = self._urgent.popleft()
            self.urgent_bytes -= size
            return self._begin(frame if callable(frame) else (frame,))
        if self._bulk_bytes <= self._limit // 4:
            self._dropping = False
        if self._notice is not None and self.lost != self._told and not self._sealed:
            now = time.monotonic()
            if not self._dropping or now - self._told_at >= _NOTICE_INTERVAL:
                self._told, self._told_at = self.lost, now
                self._flight = [memoryview(self._notice(self.lost))]
                return True
        if self._bulk:
            frames, size = self._bulk.popleft()
            self._bulk_bytes -= size
            return self._begin(frames)
        return False

    def _begin(self, frames: Sequence[bytes | memoryview] | Pieces) -> bool:
        if callable(frames):
            self._pieces = frames()
            return self._next()
        self._flight = _rest(frames, 0)
        return True

    def _send_some(self) -> int:
        if self._tls:
            return self._sock.send(self._flight[0][:_TLS_SLICE])
        while True:
            try:
                return self._sock.sendmsg(self._flight, (), MSG_DONTWAIT)
            except BlockingIOError:
                wait_write(self._sock.fileno())

    def _break(self) -> None:
        self.broken = True
        self._urgent.clear()
        self._bulk.clear()
        self._flight = []
        self._pieces = iter(())
        self._bulk_bytes = self.urgent_bytes = 0
        self._empty.set()


def _rest(buffers: Sequence[bytes | memoryview], sent: int) -> list[memoryview]:
    """The rest of ``buffers`` after the first ``sent`` bytes, without copying."""
    rest = []
    for buffer in buffers:
        view = memoryview(buffer)
        if sent >= len(view):
            sent -= len(view)
        else:
            rest.append(view[sent:])
            sent = 0
    return rest
