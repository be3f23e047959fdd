"""The number of objects of each class, counted again and again at one per cent of a processor.

A census counts the objects that the collector tracks: no str, int, float and the like, nor tuples and dictionaries of
them. Objects that ``gc.freeze()`` has put aside are counted with the extension module only, since Python lists them
nowhere. The time between two counts follows from the last count's cost, so that on average counting takes a hundredth
of one processor: 1 s at the least, some 2 s per million objects.

With the extension module the collector's lists are walked in slices of at most 4 ms, and the process goes on in
between. So a count is no picture of one moment: objects made meanwhile may be counted or not. A full collection
shuffles the lists, as do ``gc.freeze()`` and ``gc.unfreeze()``, and then the count begins anew; after three such
events it is given up until the next time. Without the extension, or on a Python that it has not been tested on, the
census takes ``gc.get_objects()``, one generation at a time, which stops the process for some 20 ms per million objects.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ...native.loader import NativeUnavailable, extension, untested
from ...system.clock import time
from ..base import Host, class_name
from ..process.gcstats import FROZEN

__all__ = ["Census", "Counted"]

SHARE: Final = 0.01
SHORTEST_INTERVAL: Final = 1.0
SLICE_USEC: Final = 4000
_BETWEEN_SLICES: Final = 0.02
_MOST_RESTARTS: Final = 3
_OLDEST: Final = 2
_AT_A_TIME: Final = 10_000


@dataclass
class Counted:
    """A census's result.

    Attributes:
        at_ms: when it was done, wall clock.
        took_usec: processor time.
        live: class name to how many, and how many of these are in the oldest generation or frozen; without the
            extension module none of the frozen ones.
    """

    at_ms: float = 0.0
    took_usec: int = 0
    live: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(live for live, _ in self.live.values())


class Census:
    """Counts while it is on. All methods are called by the server's thread."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._native: Any = None
        try:
            native = extension("_trace")
            self._without = untested(native)
            if native.CAN_COUNT:
                self._native = native
        except NativeUnavailable as reason:
            self._without = str(reason)
        self.on = False
        self.last = Counted()
        self.interval = SHORTEST_INTERVAL
        self.note = ""
        self._due = 0.0
        self._steps: Iterator[None] | None = None
        self._spent = 0.0

    @property
    def method(self) -> str:
        """The way of counting, for people."""
        if self._native is not None:
            return f"the collector's lists, in slices of {SLICE_USEC / 1000:g} ms"
        return f"gc.get_objects(), which knows no frozen objects ({self._without})"

    def switch(self, on: bool) -> None:
        """Whether it counts from now on; one that is under way is given up."""
        if on and not self.on:
            self._due = time.monotonic()
        if not on and self._steps is not None:
            self._steps = None
            self._abandon()
        self.on = on

    def deadline(self) -> float | None:
        """The monotonic time of the next :meth:`tick`; None when it is off."""
        return self._due if self.on else None

    def tick(self, now: float) -> None:
        """Goes on with the count, if it is due."""
        if not self.on or now < self._due:
            return
        if self._steps is None:
            if self._host.behind():
                # Objects of earlier counts have not been released yet. Looked at often: other profilers release objects
                # every second too, and at that pace their releases would be the waiting ones each time.
                self._due = now + _BETWEEN_SLICES
                return
            self._spent = 0.0
            self._steps = self._by_slices() if self._native is not None else self._by_listing()
        began = time.thread_time()
        done = next(self._steps, self) is self
        self._spent += time.thread_time() - began
        self._due = time.monotonic() + _BETWEEN_SLICES
        if done:
            self._steps = None
            self.interval = max(SHORTEST_INTERVAL, self._spent / SHARE)
            self._due = time.monotonic() + self.interval
            self.last.took_usec = int(self._spent * 1e6)

    def finish(self) -> None:
        """Makes the first count at once, if there has been none: slice by slice, without the waits in between."""
        while self.on and not self.last.at_ms and (self._steps is not None or not self._host.behind()):
            self._due = 0.0
            self.tick(time.monotonic())
            if self._steps is None:
                return

    def _by_slices(self) -> Iterator[None]:
        native = self._native
        for _ in range(_MOST_RESTARTS + 1):
            self._host.release(native.census_begin())
            shuffled = _full_collections()
            while True:
                done = native.census_step(SLICE_USEC)
                if done is not False or _full_collections() != shuffled:
                    break
                yield
            if done and _full_collections() == shuffled:
                self._take(native.census_end())
                self.note = ""
                return
        self._abandon()
        self.note = (
            "full collections come faster than the objects can be counted, or gc.freeze() is called all the time; this "
            "is an earlier count"
        )

    def _abandon(self) -> None:
        if self._native is not None:
            self._release(self._native.census_end())

    def _release(self, rows: list[tuple[type, int, int]]) -> None:
        # Each row may hold the last reference to its class.
        self._host.release(list(rows))
        rows.clear()

    def _take(self, rows: list[tuple[type, int, int]]) -> None:
        self.last = Counted(time.time() * 1000, 0, _by_name(rows))
        self._release(rows)

    def _by_listing(self) -> Iterator[None]:
        # By identity: a metaclass may have a __hash__ or __eq__ of its own.
        classes: dict[int, type] = {}
        old: Counter[int] = Counter()
        young: Counter[int] = Counter()
        for generation, counter in ((_OLDEST, old), (1, young), (0, young)):
            objects = gc.get_objects(generation=generation)
            # In portions: other threads take their turns in between.
            for first in range(0, len(objects), _AT_A_TIME):
                types = list(map(type, objects[first : first + _AT_A_TIME]))
                identities = list(map(id, types))
                counter.update(identities)
                classes.update(zip(identities, types, strict=True))
            self._host.release(objects)
        self._take([(cls, old[key] + young[key], old[key]) for key, cls in classes.items()])
        self._host.release([*classes.values()])
        frozen = FROZEN.count()
        self.note = f"{frozen} frozen objects (gc.freeze()) are left out: Python lists them nowhere" if frozen else ""
        yield from ()


def _by_name(rows: list[tuple[type, int, int]]) -> dict[str, tuple[int, int]]:
    live: dict[str, tuple[int, int]] = {}
    for cls, count, old in rows:
        name = class_name(cls) or "?"
        others, old_ones = live.get(name, (0, 0))
        live[name] = (others + count, old_ones + old)
    return live


def _full_collections() -> int:
    return int(gc.get_stats()[_OLDEST]["collections"])
