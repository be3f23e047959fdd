"""Objects of one server's process: whether they are traced and counted, and ``gc_stats``."""

from __future__ import annotations

from ..profilers.base import Host
from ..profilers.greenlets.registry import GreenletRegistry
from ..profilers.memory.census import Census
from ..profilers.memory.profile import MemoryProfile
from ..profilers.memory.traced_objects import ObjectTracer
from ..profilers.process.gcstats import GcWatch, gc_stats
from ..protocol.codec import figure
from ..protocol.commands.memory import MemoryProfileAnswer, TraceObjectsAnswer
from ..protocol.constants import GC_STATS_INTERVAL, EventType
from ..protocol.packing import event
from ..system.clock import time
from .lingering import Lingering

__all__ = ["MemoryProfiling"]


class MemoryProfiling:
    """The memory profilers. Everything here is called by the server's thread.

    Args:
        host: the process.
        greenlets: the process's.
        lingering: the time that profilers started by a command go on.
    """

    def __init__(self, host: Host, greenlets: GreenletRegistry, lingering: Lingering) -> None:
        self._host = host
        self._greenlets = greenlets
        self._lingering = lingering
        self.object_tracer = ObjectTracer(host)
        self.gc = GcWatch()
        self.census = Census(host)
        self.profile = MemoryProfile(self.object_tracer, self.census, self.gc)
        self._stats_due: float | None = None
        self._asked: float | None = None  # when a client last asked for a profile
        self._by_command = False  # and so ends with its audience

    def start_for_application(self, *, object_trace: bool, gc_stats: bool) -> None:
        """Switches these on until :meth:`stop`."""
        if object_trace:
            self.object_tracer.start()
        if object_trace or gc_stats:
            self.gc.start()
        if gc_stats:
            self._stats_due = time.monotonic()

    def start(self) -> None:
        """Publishes objects that come and go, collections, and ``gc_stats``."""
        self._lingering.sign_of_life()
        if not self.published:
            self._by_command = True
        self.object_tracer.start()
        self.gc.start()
        if self._stats_due is None:
            self._stats_due = time.monotonic()

    def stop(self) -> None:
        """Ends publishing."""
        self.object_tracer.stop()
        if self._asked is None:
            self.gc.stop()
        self._stats_due = None
        self._by_command = False

    def trace(self, patterns: tuple[str, ...]) -> TraceObjectsAnswer:
        """The answer of ``trace_objects``; tracing ends with its audience, as with other commands."""
        self._lingering.sign_of_life()
        if patterns and not self.published:
            self._by_command = True
        return self.object_tracer.trace(patterns)

    def answer(self, cursor: int | None) -> MemoryProfileAnswer:
        """The answer of ``memory_profile``, with a census of its own if there has been none yet."""
        self._lingering.sign_of_life()
        self._asked = self._lingering.last_sign
        self.gc.start()
        self.census.switch(True)
        self.census.finish()
        return self.profile.answer(cursor, self._stats(self.gc.spent_ms))

    def stop_counting(self) -> None:
        """Ends the census of ``memory_profile``."""
        self._asked = None
        self.census.switch(False)
        if not self.published:
            self.gc.stop()

    def end_without_audience(self) -> None:
        """Ends the profilers that a command started."""
        if self._by_command:
            self.stop()

    def forget(self) -> None:
        """Forgets everything in a forked child."""
        self.gc.stop()
        self.object_tracer.forget()

    @property
    def published(self) -> bool:
        """Whether objects or ``gc_stats`` are published."""
        return self.object_tracer.running or self._stats_due is not None

    @property
    def on(self) -> bool:
        """Whether any of them is on."""
        return self.published or self._asked is not None

    # -- time

    def deadline(self) -> float | None:
        """The monotonic time when :meth:`stats_event` or :meth:`tick` is due next; None where neither is."""
        dues = (self._stats_due, self.census.deadline())
        return min((due for due in dues if due is not None), default=None)

    def stats_event(self, now: float, audience: bool) -> list[bytes]:
        """A ``gc_stats`` event, if it is due and there is an audience."""
        if self._stats_due is None or now < self._stats_due:
            return []
        self._stats_due = now + GC_STATS_INTERVAL
        if not audience:
            return []
        stats = {key: figure(value) for key, value in self.stats().items()}
        return [event(EventType.GC_STATS, time.time() * 1000, stats)]

    def tick(self, now: float) -> None:
        """Counts on, or no more once no client has asked for long."""
        self.census.tick(now)
        if self._asked is not None and now >= self._asked + self._lingering.seconds:
            self.stop_counting()

    def stats(self) -> dict[str, float]:
        """The payload of a ``gc_stats`` message; takes the collections' time since the last one."""
        return self._stats(self.gc.take_time())

    def _stats(self, gc_time_ms: float) -> dict[str, float]:
        stats = gc_stats(self._host, self._greenlets, gc_time_ms)
        if self.object_tracer.running:
            stats.update(self.object_tracer.stats())
        return stats
