"""The server's profilers: which are on, for which clients, and when they go off by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from ..profilers.base import Host, Profiler
from ..profilers.cpu.aggregate import CpuProfiler
from ..profilers.greenlets.registry import GreenletRegistry
from ..profilers.memory.census import Census
from ..profilers.memory.profile import MemoryProfile
from ..profilers.memory.traced_objects import ObjectTracer
from ..profilers.process.gcstats import GcWatch, gc_stats
from ..profilers.requests.tracker import REQUESTS
from ..protocol.answers.cpu import CpuIntervalAnswer, WaitProfileAnswer
from ..protocol.answers.memory import MemoryProfileAnswer, TraceObjectsAnswer
from ..protocol.codec import figure
from ..protocol.constants import GC_STATS_INTERVAL, EventType
from ..protocol.packing import event
from ..system.clock import time
from .publisher import Publisher
from .wishes import Wishes

__all__ = ["Profiling", "StartOptions"]

# How often the profilers' events are fetched while anything is on; and while no client waits for any. Each time costs
# the application some 0.1 ms.
_DRAIN_INTERVAL: Final = 0.1
_LAZY_INTERVAL: Final = 1.0


@dataclass(frozen=True)
class StartOptions:
    """Profilers that ``start_profiling()`` switches on; they stay on until a command or ``stop_server()`` ends them."""

    object_trace: bool = False
    gc_stats: bool = False
    cpu: bool = False
    clock: Literal["cpu", "wall"] = "cpu"
    interval_usec: int = 1000


class Profiling:
    """The profilers of one server. Everything here is called by the server's thread.

    Args:
        host: the process.
        publisher: sends events.
        audience: tells whether there is a subscriber or a callback.
        linger: seconds that profilers started by a command go on without an audience.
        signum: the signal of the native sampler; None: its default, 0: none.
    """

    def __init__(
        self,
        host: Host,
        publisher: Publisher,
        audience: Callable[[], bool],
        linger: float,
        signum: int | None = None,
    ) -> None:
        self._host = host
        self._publisher = publisher
        self._audience = audience
        self._linger = linger
        self.greenlets = GreenletRegistry(host)
        self.cpu = CpuProfiler(host, signum, self.greenlets)
        self.object_tracer = ObjectTracer(host)
        self.gc = GcWatch()
        self.census = Census(host)
        self.memory = MemoryProfile(self.object_tracer, self.census, self.gc)
        # The wishes of each client: microseconds between samples, and samples of waiting requests.
        self._intervals: Wishes[int] = Wishes(linger)
        self._waits: Wishes[bool] = Wishes(linger)
        self._interval = self.cpu.sampler.interval_usec  # where no client has asked for one
        self._stats_due: float | None = None
        # Profilers that a command started, and that so end with their audience.
        self._lingering: set[Literal["cpu", "memory"]] = set()
        # Whether single CPU samples are published: they cost more than taking them.
        self.cpu_events = False
        self._last_sign = 0.0
        # When a client last asked for stacks: begins of requests are noted, as it may ask again.
        self._stacks_asked: float | None = None
        self._memory_asked: float | None = None
        self._drained = 0.0

    # -- switching

    def start(self, options: StartOptions) -> None:
        """Starts the profilers of ``start_profiling()``; they stay on."""
        if options.object_trace:
            self.object_tracer.start()
            self.gc.start()
        if options.gc_stats:
            self.gc.start()
            self._stats_due = time.monotonic()
        self._interval = options.interval_usec
        if options.cpu:
            self._intervals.make(None, options.interval_usec)
        self._see_to_wishes()
        self.cpu.next_clock = options.clock
        if options.cpu:
            self.publish_cpu(True)
            self.cpu.start()
        # The clock of start_cpu_profiling is the CPU's until a command says otherwise, also after this start.
        self.cpu.next_clock = "cpu"

    def start_memory(self) -> None:
        self.sign_of_life()
        if not self.memory_on:
            self._lingering.add("memory")
        self.object_tracer.start()
        self.gc.start()
        if self._stats_due is None:
            self._stats_due = time.monotonic()

    def stop_memory(self) -> None:
        self.object_tracer.stop()
        if self._memory_asked is None:
            self.gc.stop()
        self._stats_due = None
        self._lingering.discard("memory")

    def trace_objects(self, patterns: tuple[str, ...]) -> TraceObjectsAnswer:
        """The answer of ``trace_objects``; tracing ends with its audience, as with other commands."""
        self.sign_of_life()
        if patterns and not self.memory_on:
            self._lingering.add("memory")
        return self.object_tracer.trace(patterns)

    def memory_profile(self, cursor: int | None) -> MemoryProfileAnswer:
        """The answer of ``memory_profile``, with a census of its own if there has been none yet."""
        self.sign_of_life()
        self._memory_asked = self._last_sign
        self.gc.start()
        self.census.switch(True)
        self.census.finish()
        return self.memory.answer(cursor, self._stats(self.gc.spent_ms))

    def _stop_counting(self) -> None:
        self._memory_asked = None
        self.census.switch(False)
        if not self.memory_on:
            self.gc.stop()

    def start_cpu(self) -> None:
        """Starts sampling by the protocol's command: samples are published."""
        self.publish_cpu(True)
        self.start_cpu_polling()

    def publish_cpu(self, wanted: bool) -> None:
        """Whether samples are published; the clock chosen at the begin weighs them."""
        if wanted and not self.cpu_events:
            self.cpu.choose_clock()
        self.cpu_events = wanted

    def start_cpu_polling(self) -> None:
        """Takes samples; they are published only if a client asks for that, or has."""
        self.sign_of_life()
        self._see_to_wishes()
        if not self.cpu.running:
            self._lingering.add("cpu")
            self.cpu.start()

    def stop_cpu(self) -> None:
        self.cpu.stop()
        self.cpu_events = False
        self._intervals.drop(None)
        self._lingering.discard("cpu")

    def wish_interval(self, client: str, microseconds: int) -> CpuIntervalAnswer:
        """The answer of ``set_cpu_interval``: the shortest interval that a client wants is in force."""
        self._intervals.make(client, microseconds)
        self._see_to_wishes()
        return self.cpu.interval()

    def wish_waits(self, client: str, wanted: bool) -> WaitProfileAnswer:
        """The answer of ``wait_profile``."""
        if wanted:
            self._waits.make(client, True)
        else:
            self._waits.drop(client)
        self._see_to_wishes()
        return {"wanted": wanted, "active": self.cpu.wait_sampler.wanted and self.cpu.running}

    def sign_of(self, client: str, *, polls: bool = False) -> None:
        """Notes that a client has sent a command.

        Args:
            client: its name.
            polls: whether the command shows that the client will send more of them.
        """
        known = [wishes.sign_of(client, polls) for wishes in (self._intervals, self._waits)]
        if any(known):
            self._see_to_wishes()

    def goodbye(self, client: str) -> None:
        """Drops a client's wishes when it goes."""
        self._intervals.drop(client)
        self._waits.drop(client)
        self._see_to_wishes()

    def _see_to_wishes(self) -> None:
        audience = self._audience()
        interval = min(self._intervals.in_force(audience), default=self._interval)
        if interval != self.cpu.sampler.interval_usec:
            self.cpu.sampler.interval_usec = interval
        self.cpu.wait_sampler.wanted = bool(self._waits.in_force(audience))

    def stop(self) -> None:
        """Switches everything off."""
        self.stop_cpu()
        self.stop_memory()
        self._stop_counting()
        self._end_watching()

    def after_in_child(self) -> None:
        """Forgets everything in a forked child, without waiting and without messages."""
        self.cpu.sampler.forget()
        self.cpu.wait_sampler.forget()
        self.greenlets.remove()
        self.gc.stop()
        self.object_tracer.forget()

    def watch_requests(self) -> None:
        """Notes the begin of each request for a while: a client looks at requests one by one."""
        self._stacks_asked = time.monotonic()
        REQUESTS.want(self, True)

    def _end_watching(self, now: float = inf) -> None:
        if self._stacks_asked is not None and now >= self._stacks_asked + self._linger:
            self._stacks_asked = None
            REQUESTS.want(self, False)

    def sign_of_life(self) -> None:
        """Begins the time to linger anew: a client wants profiling, or has wanted it until now."""
        self._last_sign = time.monotonic()

    @property
    def memory_on(self) -> bool:
        return self.object_tracer.running or self._stats_due is not None

    @property
    def on(self) -> bool:
        return self.memory_on or self.cpu.running or self._memory_asked is not None

    # -- time

    @property
    def _drain_interval(self) -> float:
        fetched = self.memory_on or self._memory_asked is not None or not self.cpu.adds_up
        return _DRAIN_INTERVAL if fetched or (self.cpu_events and self._audience()) else _LAZY_INTERVAL

    def deadline(self) -> float | None:
        """The monotonic time of the next :meth:`tick`; None when everything is off."""
        times = [self._drained + self._drain_interval] if self.on else []
        if self._stacks_asked is not None:
            times.append(self._stacks_asked + self._linger)
        if not times:
            return None
        if self._stats_due is not None:
            times.append(self._stats_due)
        if (due := self.census.deadline()) is not None:
            times.append(due)
        return min(times)

    def tick(self, now: float) -> None:
        """Fetches events, sends gc_stats when they are due, ends profilers that no client wants any more."""
        self._end_watching(now)
        if not self.on:
            return
        audience = self._audience()
        if now >= self._drained + self._drain_interval:
            self._drained = now
            self._see_to_wishes()
            profilers: tuple[tuple[Profiler, bool], ...] = (
                (self.cpu, self.cpu_events),
                (self.gc, self.memory_on),
                (self.object_tracer, True),
            )
            for profiler, published in profilers:
                if profiler.running:
                    self._publisher.add(profiler.drain(audience and published))
            self.memory.tick()
        if self._stats_due is not None and now >= self._stats_due:
            self._stats_due = now + GC_STATS_INTERVAL
            if audience:
                self._publisher.add([self._stats_event()])
        self.census.tick(now)
        if self._memory_asked is not None and now >= self._memory_asked + self._linger:
            self._stop_counting()
        if self._lingering and not audience and now >= self._last_sign + self._linger:
            for what in tuple(self._lingering):
                {"cpu": self.stop_cpu, "memory": self.stop_memory}[what]()

    def _stats_event(self) -> bytes:
        stats = {key: figure(value) for key, value in self.stats().items()}
        return event(EventType.GC_STATS, time.time() * 1000, stats)

    def stats(self) -> dict[str, float]:
        """The payload of a ``gc_stats`` message; takes the collections' time since the last one."""
        return self._stats(self.gc.take_time())

    def _stats(self, gc_time_ms: float) -> dict[str, float]:
        stats = gc_stats(self._host, self.greenlets, gc_time_ms)
        if self.object_tracer.running:
            stats.update(self.object_tracer.stats())
        return stats

    def check(self) -> BaseException | None:
        """The exception that ended the sampler's thread, once; None while there is none."""
        failure, self.cpu.sampler.failure = self.cpu.sampler.failure, None
        if failure is not None:
            self.stop_cpu()
        return failure
