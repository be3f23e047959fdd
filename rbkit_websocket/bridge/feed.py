"""Publications: one source for each endpoint and event loop, shared by all listening sessions.

Each message is framed once. Small messages that arrived together are joined into one piece of memory for one system
call a client, large ones are not copied at all; escaped text for old clients is made by their outboxes. Sockets that
are always ready never let other greenlets run, so the pump gives way after every batch. The messages' counters show
publications that were lost on the way here, because they were not fetched in time; all listeners are told.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import partial
from typing import Final, Protocol

import gevent
from gevent.event import AsyncResult
from gevent.hub import Hub

from ..protocol import envelope
from ..protocol.counter import Gaps
from ..transport.curve import ClientKeys
from ..websocket.hubs import call_in
from ..websocket.outbox import Outbox
from ..websocket.turns import give_way
from .framing import binary_head, text_pieces
from .hoard import Flooded
from .sources import publications

__all__ = ["Feed", "Listener"]

log = logging.getLogger(__name__)

BATCH_MESSAGES: Final = 64
BATCH_BYTES: Final = 64 * 1024

# Seconds after a time-out for one more look of the pump: the event loop may have been blocked all the while.
_SECOND_LOOK: Final = 0.1

# By event loop, endpoint and keys. Other threads iterate over a copy, which is made in one go.
_feeds: dict[tuple[Hub, str, ClientKeys | None], Feed] = {}


class Listener(Protocol):
    """A receiver of publications: an outbox, and its framing."""

    outbox: Outbox
    text: bool

    def send_text(self, text: str) -> None:
        """Sends a notice."""

    def give_up(self, reason: str) -> None:
        """Ends the listener: no more publications will come."""


class Feed:
    """The publications of one endpoint, for all sessions of this event loop; closed when the last one leaves."""

    def __init__(self, endpoint: str, keys: ClientKeys | None, max_message: int) -> None:
        self._endpoint = endpoint
        self._keys = keys
        self._pid = os.getpid()
        self._listeners: list[Listener] = []
        self._source = publications(endpoint, keys, max_message)
        self._connected: AsyncResult[bool] = AsyncResult()
        self._gaps = Gaps()
        self._pump = gevent.spawn(self._run)

    @classmethod
    def join(cls, endpoint: str, listener: Listener, keys: ClientKeys | None, max_message: int) -> Feed:
        """The feed of ``endpoint`` with ``listener`` added; the process's older listeners are told of the new one.

        Args:
            max_message: bytes that a publication over ZeroMQ may have; the first listener's number is in force.

        Raises:
            NoRoom: libzmq cannot be let into this process.
            OSError, zmq.ZMQError: no descriptor is left, or the endpoint is wrong.
        """
        key = gevent.get_hub(), endpoint, keys
        feed = _feeds.get(key)
        if feed is None or feed._pid != os.getpid():
            feed = _feeds[key] = cls(endpoint, keys, max_message)
        older = [
            (hub, other)
            for (hub, *where), its in _feeds.copy().items()
            if where == [endpoint, keys] and its._pid == os.getpid()
            for other in its._listeners.copy()
        ]
        feed._listeners.append(listener)
        for hub, other in older:
            call_in(hub, other.send_text, envelope.client_count(len(older) + 1))
        return feed

    def wait_connected(self, timeout: float) -> bool:
        """Whether the publisher is there; waits for it for ``timeout`` seconds unless it refuses at once."""
        for patience in (timeout, _SECOND_LOOK):
            try:
                return bool(self._connected.get(timeout=patience))
            except gevent.Timeout:
                pass
        return False

    @property
    def refusal(self) -> str | None:
        """The publisher's reason for refusing us; None when it is only absent."""
        return self._source.refusal

    def leave(self, listener: Listener) -> None:
        """Takes ``listener`` out; the last one's leaving closes the socket and joins the pump before this returns."""
        if os.getpid() != self._pid:
            return  # a fork of the application: the sockets are the parent's and must not be touched
        self._listeners.remove(listener)
        if self._listeners:
            return
        self._withdraw()
        self._pump.kill()  # first, since it uses the source
        self._source.close()

    def _withdraw(self) -> None:
        key = gevent.get_hub(), self._endpoint, self._keys
        if _feeds.get(key) is self:
            del _feeds[key]

    def _run(self) -> None:
        while os.getpid() == self._pid:
            try:
                batch = self._drain()
                self._follow()
                if batch:
                    self._publish(batch)
                    give_way()
                elif self._source.ended:
                    self._withdraw()
                    # If the server itself has ended, the sessions learn it by their commands, in better words.
                    gevent.sleep(_SECOND_LOOK)
                    self._give_up("the Rbkit server publishes no more to this worker; connect again")
                    return
                else:
                    self._source.wait()
            except Flooded as flooded:
                self._withdraw()
                self._source.close()  # now, since libzmq keeps incoming messages until the last listener has left
                if not self._connected.ready():
                    self._connected.set(False)
                self._give_up(str(flooded))
                return
            except Exception:  # a boundary: the pump serves every session
                log.exception("rbkit: forwarding publications of %s failed", self._endpoint)
                gevent.sleep(1)

    def _give_up(self, reason: str) -> None:
        for listener in tuple(self._listeners):
            listener.give_up(reason)

    def _follow(self) -> None:
        """Tells waiting sessions the result of the first attempt to connect."""
        if not self._connected.ready() and (up := self._source.connected()) is not None:
            if not up:
                self._withdraw()  # a session that joins from now on tries anew
            self._connected.set(up)

    def _drain(self) -> list[bytes | memoryview]:
        batch: list[bytes | memoryview] = []
        size = 0
        for message in self._source.messages():
            size += len(message)
            batch.append(message)
            if len(batch) >= BATCH_MESSAGES or size >= BATCH_BYTES:
                break
        return batch

    def _publish(self, batch: list[bytes | memoryview]) -> None:
        listeners = tuple(self._listeners)
        if lost := sum(map(self._gaps.before, batch)):
            for listener in listeners:
                listener.outbox.miss(lost)
        binary = [listener.outbox for listener in listeners if not listener.text]
        text = [listener.outbox for listener in listeners if listener.text]
        if binary:
            for buffers, size, count in _join(batch):
                for outbox in binary:
                    outbox.publish(buffers, size, count)
        for outbox in text:
            for message in batch:
                outbox.publish_later(partial(text_pieces, envelope.PUBLICATION, message), len(message))


def _join(batch: list[bytes | memoryview]) -> Iterator[tuple[tuple[bytes | memoryview, ...], int, int]]:
    """Frames of a batch as (buffers, bytes, frames): runs of small ones in one buffer, a large one by itself."""
    parts: list[bytes | memoryview] = []
    count = 0
    for message in batch:
        head = binary_head(envelope.PUBLICATION, len(message))
        if len(message) >= BATCH_BYTES:
            if parts:
                joined = b"".join(parts)
                yield (joined,), len(joined), count
                parts, count = [], 0
            yield (head, message), len(head) + len(message), 1
        else:
            parts += (head, message)
            count += 1
    if parts:
        joined = b"".join(parts)
        yield (joined,), len(joined), count
