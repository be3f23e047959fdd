"""The server's profilers: which are on, for which clients, and when they go off by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from ..profilers.base import Host, Profiler
from ..profilers.cpu.aggregate import CpuProfiler
from ..profilers.greenlets.registry import GreenletRegistry
from ..profilers.requests.tracker import REQUESTS
from ..system.clock import time
from .cpu_profiling import CpuProfiling
from .lingering import Lingering
from .memory_profiling import MemoryProfiling
from .publisher import Publisher

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
    """The profilers of one server, and when each has its turn. Everything here is called by the server's thread.

    Args:
        host: the process.
        publisher: sends events.
        audience: tells whether there is a subscriber or a callback.
        linger: seconds that profilers started by a command go on without an audience.
        signum: the signal of the native sampler; None: its default, 0: none.

    Attributes:
        greenlets: those of the process.
        cpu: the CPU profiler and its clients.
        memory: the memory profilers.
        lingering: the time that profilers started by a command go on.
    """

    def __init__(
        self,
        host: Host,
        publisher: Publisher,
        audience: Callable[[], bool],
        linger: float,
        signum: int | None = None,
    ) -> None:
        self._publisher = publisher
        self._audience = audience
        self.lingering = Lingering(linger)
        self.greenlets = GreenletRegistry(host)
        self.cpu = CpuProfiling(CpuProfiler(host, signum, self.greenlets), audience, self.lingering)
        self.memory = MemoryProfiling(host, self.greenlets, self.lingering)
        # When a client last asked for stacks: begins of requests are noted, as it may ask again.
        self._stacks_asked: float | None = None
        self._drained = 0.0

    # -- switching

    def start(self, options: StartOptions) -> None:
        """Starts the profilers of ``start_profiling()``; they stay on."""
        self.memory.start_for_application(object_trace=options.object_trace, gc_stats=options.gc_stats)
        self.cpu.start(options.cpu, options.clock, options.interval_usec)

    def stop(self) -> None:
        """Switches everything off."""
        self.cpu.stop()
        self.memory.stop()
        self.memory.stop_counting()
        self._end_watching()

    def after_in_child(self) -> None:
        """Forgets everything in a forked child, without waiting and without messages."""
        self.cpu.profiler.sampler.forget()
        self.cpu.profiler.wait_sampler.forget()
        self.greenlets.remove()
        self.memory.forget()

    def watch_requests(self) -> None:
        """Notes the begin of each request for a while: a client looks at requests one by one."""
        self._stacks_asked = time.monotonic()
        REQUESTS.want(self, True)

    def _end_watching(self, now: float = inf) -> None:
        if self._stacks_asked is not None and now >= self._stacks_asked + self.lingering.seconds:
            self._stacks_asked = None
            REQUESTS.want(self, False)

    @property
    def on(self) -> bool:
        """Whether any profiler is on."""
        return self.memory.on or self.cpu.profiler.running

    # -- time

    @property
    def _drain_interval(self) -> float:
        return _DRAIN_INTERVAL if self.memory.on or self.cpu.fetched_often else _LAZY_INTERVAL

    def deadline(self) -> float | None:
        """The monotonic time of the next :meth:`tick`; None when everything is off."""
        times = [self._drained + self._drain_interval] if self.on else []
        if self._stacks_asked is not None:
            times.append(self._stacks_asked + self.lingering.seconds)
        if times and (due := self.memory.deadline()) is not None:
            times.append(due)
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Fetches events, sends gc_stats when they are due, ends profilers that no client wants any more."""
        self._end_watching(now)
        if not self.on:
            return
        audience = self._audience()
        if now >= self._drained + self._drain_interval:
            self._drained = now
            self.cpu.see_to_wishes()
            self._drain(audience)
            self.memory.profile.tick()
        self._publisher.add(self.memory.stats_event(now, audience))
        self.memory.tick(now)
        if not audience and self.lingering.is_over(now):
            self.cpu.end_without_audience()
            self.memory.end_without_audience()

    def _drain(self, audience: bool) -> None:
        profilers: tuple[tuple[Profiler, bool], ...] = (
            (self.cpu.profiler, self.cpu.events),
            (self.memory.gc, self.memory.published),
            (self.memory.object_tracer, True),
        )
        for profiler, published in profilers:
            if profiler.running:
                self._publisher.add(profiler.drain(audience and published))
