"""Collections as events, and ``gc_stats``: the protocol's keys, made for Ruby, and their meaning in Python.

A generation-2 collection is Python's major one, the others are minor. Python's collector marks and sweeps in one go, so
``gc_end_m`` and ``gc_end_s`` come together at its end. Reference counting frees most objects without any collection.

In CPU samples a collection has a frame of its own, ``(garbage collection)``, called by the function in which it began:
the function that made one object too many, which need not be the one that makes most objects.

A collection's time is Python's own figure from 3.15 on. Before, it lies between the two calls of our callback, and so
has in it other tools' callbacks and what threads do that take the interpreter's lock meanwhile.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from ...protocol.commands.memory import CollectionFigures
from ...protocol.constants import EventType
from ...protocol.packing import event
from ...system.clock import time
from ..base import CALLBACKS, Host, Profiler
from ..greenlets.registry import GreenletRegistry
from ..interpreters import undisturbed
from ..thread_frames import current_frames
from .procfs import SELF_STATUS, fields

__all__ = ["KEYS", "GcWatch", "gc_stats"]

KEYS: Final[dict[str, str]] = {
    "count": "Collections since the process started, all generations together.",
    "minor_gc_count": "Collections of generations 0 and 1.",
    "major_gc_count": "Collections of generation 2, which look at every container object.",
    "heap_live_slots": "Memory blocks that Python's allocator has handed out (sys.getallocatedblocks()). Unknown "
    "while the process has other interpreters.",
    "total_heap_size": "Resident anonymous memory in bytes: heaps of Python and of C libraries. Linux only.",
    "total_memsize": "Resident memory of the process in bytes, files mapped into it included. Linux only.",
    "rss": "The same as total_memsize, under the name that it has in Python's world.",
    "allocated_blocks": "The same as heap_live_slots, under the name that it has in Python's world.",
    "collections_0": "Collections of generation 0; collections_1 and collections_2 likewise.",
    "collected_0": "Objects that collections of generation 0 freed; collected_1 and collected_2 likewise.",
    "uncollectable_0": "Objects that collections of generation 0 could not free; _1 and _2 likewise.",
    "pending_0": "Container objects made since the last collection of generation 0, less those freed.",
    "gc_time_ms": "Milliseconds that collections took since the last gc_stats message.",
    "freeze_count": "Objects that gc.freeze() took out of the collector's sight; if many, asked for rarely.",
    "objects_followed": "Objects whose end will be told, at the moment (see the object events).",
    "objects_skipped": "New objects of traced classes that are not followed, since tracing began, to keep the rate.",
    "objects_one_in": "Of how many new objects one is followed at the moment. Only with the extension module.",
    "threads": "Threads that run Python code in this interpreter, without those of this package. Where known.",
    "greenlets": "Living greenlets where gevent or greenlet is in use; new raw ones may be missing for some seconds.",
    "open_fds": "Open file descriptors. Linux only.",
}
"""Every key of a ``gc_stats`` message and its meaning. The protocol's other keys have no true counterpart in Python and
are left out: Python's heap knows no eden and tomb pages, and counts no allocations."""

_MAX_WAITING: Final = 20_000
_REMEMBERED: Final = 200


class GcWatch(Profiler):
    """``gc_start``, ``gc_end_m`` and ``gc_end_s`` events, the time that collections take, and the last 200 of them."""

    def __init__(self) -> None:
        # When a collection began, and minus when it ended: perf_counter() of both.
        self._waiting: deque[float] = deque(maxlen=_MAX_WAITING)
        self._began = 0.0
        self._spent = 0.0
        # perf_counter() at the end, generation, seconds, collected, uncollectable
        self._history: deque[tuple[float, int, float, int, int]] = deque(maxlen=_REMEMBERED)

    def start(self) -> None:
        if not self.running:
            self._waiting.clear()
            self._spent = self._began = 0.0
            gc.callbacks.append(self._callback)
            self.running = True

    def stop(self) -> None:
        if self.running:
            self.running = False
            if self._callback in gc.callbacks:
                gc.callbacks.remove(self._callback)

    def take_time(self) -> float:
        """Milliseconds spent in collections since the last call."""
        spent, self._spent = self._spent, 0.0
        return spent * 1000

    @property
    def spent_ms(self) -> float:
        """Milliseconds spent in collections since the last call of :meth:`take_time`."""
        return self._spent * 1000

    @property
    def history(self) -> list[CollectionFigures]:
        """The last collections."""
        offset = time.time() - time.perf_counter()
        # A copy in one go: a collection may add to it at any time.
        rows = list(self._history)
        return [((offset + at) * 1000, number, int(took * 1e6), freed, left) for at, number, took, freed, left in rows]

    def _callback(self, phase: str, info: dict[str, Any], clock: Callable[[], float] = time.perf_counter) -> None:
        # Runs at both ends of every collection: one look at the clock, nothing that can fail.
        now = clock()
        if phase == "start":
            self._began = now
            self._waiting.append(now)
        elif self._began:  # else it was under way at the start
            # Python tells it from 3.15 on. Before, other callbacks and a wait for the interpreter's lock are in it.
            took = info.get("duration", now - self._began)
            self._spent += took
            self._waiting.append(-now)
            self._history.append((now, info["generation"], took, info["collected"], info["uncollectable"]))

    def drain(self, audience: bool) -> Iterable[bytes]:
        events = []
        offset = time.time() - time.perf_counter()
        while self._waiting:
            at = self._waiting.popleft()
            if at > 0:
                events.append(event(EventType.GC_START, (offset + at) * 1000))
            else:
                events.append(event(EventType.GC_END_MARK, (offset - at) * 1000))
                events.append(event(EventType.GC_END_SWEEP, (offset - at) * 1000))
        return events if audience else ()


CALLBACKS.add(GcWatch._callback.__code__)


def gc_stats(host: Host, greenlets: GreenletRegistry, gc_time_ms: float = 0.0) -> dict[str, float]:
    """The payload of a ``gc_stats`` message; :data:`KEYS` says what each key means."""
    generations = gc.get_stats()
    collections = [generation["collections"] for generation in generations]
    stats: dict[str, float] = {
        "count": sum(collections),
        "minor_gc_count": sum(collections[:-1]),
        "major_gc_count": collections[-1],
        "gc_time_ms": gc_time_ms,
        "freeze_count": FROZEN.count(),
        "pending_0": gc.get_count()[0],
    }
    if (blocks := undisturbed(sys.getallocatedblocks)) is not None:
        stats["heap_live_slots"] = stats["allocated_blocks"] = blocks
    if (frames := current_frames()) is not None:
        stats["threads"] = sum(ident not in host.own for ident in frames)
    for number, generation in enumerate(generations):
        for key in ("collections", "collected", "uncollectable"):
            stats[f"{key}_{number}"] = generation[key]
    stats.update(_memory())
    try:
        # The listing's own descriptor is among them.
        stats["open_fds"] = len(os.listdir("/proc/self/fd")) - 1
    except OSError:
        pass
    if (count := greenlets.count()) is not None:
        stats["greenlets"] = count
    return stats


class _FreezeCount:
    """``gc.get_freeze_count()`` walks over all frozen objects, so it is called for at most 0.2 % of the time."""

    def __init__(self) -> None:
        self._known = 0
        self._due = 0.0

    def count(self) -> int:
        began = time.perf_counter()
        if began >= self._due:
            self._known = gc.get_freeze_count()
            ended = time.perf_counter()
            self._due = ended + (ended - began) * 500
        return self._known


FROZEN: Final = _FreezeCount()


def _memory() -> dict[str, int]:
    """``VmRSS`` and ``RssAnon`` of proc(5) in bytes; empty where there is no /proc."""
    sizes = fields(SELF_STATUS)
    memory = {}
    if "VmRSS" in sizes:
        memory["total_memsize"] = memory["rss"] = sizes["VmRSS"]
    if "RssAnon" in sizes:
        memory["total_heap_size"] = sizes["RssAnon"]
    return memory
