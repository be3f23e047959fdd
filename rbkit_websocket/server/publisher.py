"""Events on their way out: collected, counted, sent; and a pace for large ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..protocol.constants import COLLECTION_INTERVAL, COLLECTION_SIZE
from ..protocol.packing import event_collection
from ..system.clock import time

__all__ = ["Pace", "Publisher"]


class Publisher:
    """Packs events into ``event_collection`` messages of 400 events, or of the events of a second.

    Args:
        send: takes one message; the counter in them rises by one from message to message, beginning with 0.
        clock: seconds, monotonic.
    """

    def __init__(self, send: Callable[[bytes], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._waiting: list[bytes] = []
        self._since = 0.0
        self.counter = 0

    def add(self, events: Iterable[bytes]) -> None:
        """Queues packed events, and sends as many full collections as they make."""
        before = len(self._waiting)
        self._waiting.extend(events)
        if self._waiting and not before:
            self._since = self._clock()
        while len(self._waiting) >= COLLECTION_SIZE:
            full, self._waiting = self._waiting[:COLLECTION_SIZE], self._waiting[COLLECTION_SIZE:]
            self._since = self._clock()
            self.publish(full)

    @property
    def deadline(self) -> float | None:
        """The time when waiting events are due; None when none wait."""
        return self._since + COLLECTION_INTERVAL if self._waiting else None

    def flush(self, now: float) -> None:
        """Sends waiting events, if they are due."""
        if self._waiting and now >= self._since + COLLECTION_INTERVAL:
            events, self._waiting = self._waiting, []
            self.publish(events)

    def drop(self) -> None:
        """Drops waiting events: there is no subscriber."""
        self._waiting = []

    def publish(self, events: list[bytes]) -> int:
        """Sends one collection of packed events at once; returns the size of the message in bytes."""
        message = event_collection(time.time() * 1000, self.counter, events)
        self.counter += 1
        self._send(message)
        return len(message)


class Pace:
    """A pace for many bytes: ``rate`` bytes a second, with a tenth of a second's worth at once.

    A PUB socket knows no back-pressure: past its high-water mark it drops. A subscriber that keeps up gets all.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._free_at = 0.0

    def spend(self, size: int) -> None:
        """Accounts for ``size`` bytes that have been sent."""
        self._free_at = max(self._free_at, self._clock() - 0.1) + size / self._rate

    @property
    def wait(self) -> float:
        """Seconds until more may go, 0.0 or less for now."""
        return self._free_at - self._clock()
