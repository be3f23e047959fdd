"""CPU samples of one server: whether they are taken and published, for which clients, and how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ..profilers.cpu.aggregate import CpuProfiler
from ..protocol.commands.cpu import CpuIntervalAnswer, CpuStateAnswer, WaitProfileAnswer
from .lingering import Lingering
from .wishes import Wishes

__all__ = ["CpuProfiling"]


class CpuProfiling:
    """The CPU profiler with its clients' wishes. Everything here is called by the server's thread.

    Args:
        profiler: takes the samples.
        audience: tells whether there is a subscriber or a callback.
        lingering: the time that profilers started by a command go on.

    Attributes:
        events: whether single samples are published: they cost more than taking them.
    """

    def __init__(self, profiler: CpuProfiler, audience: Callable[[], bool], lingering: Lingering) -> None:
        self.profiler = profiler
        self.events = False
        self._audience = audience
        self._lingering = lingering
        # The wishes of each client: microseconds between samples, and samples of waiting requests.
        self._intervals: Wishes[int] = Wishes(lingering.seconds)
        self._waits: Wishes[bool] = Wishes(lingering.seconds)
        self._interval = profiler.sampler.interval_usec  # where no client has asked for one
        self._by_command = False  # and so ends with its audience

    def start(self, wanted: bool, clock: Literal["cpu", "wall"], interval: int) -> None:
        """Takes and publishes samples for the application, until that is stopped; the interval holds in any case."""
        self._interval = interval
        if wanted:
            self._intervals.make(None, interval)
        self.see_to_wishes()
        self.profiler.next_clock = clock
        if wanted:
            self.publish(True)
            self.profiler.start()
        # The clock of start_cpu_profiling is the CPU's until a command says otherwise, also after this start.
        self.profiler.next_clock = "cpu"

    def start_publishing(self) -> None:
        """Starts sampling by the protocol's command: samples are published."""
        self.publish(True)
        self.start_polling()

    def start_polling(self) -> None:
        """Takes samples; they are published only if a client asks for that, or has."""
        self._lingering.sign_of_life()
        self.see_to_wishes()
        if not self.profiler.running:
            self._by_command = True
            self.profiler.start()

    def publish(self, wanted: bool) -> None:
        """Switches the publishing of samples; the clock chosen at the begin weighs them."""
        if wanted and not self.events:
            self.profiler.choose_clock()
        self.events = wanted

    def stop(self) -> None:
        """Ends sampling."""
        self.profiler.stop()
        self.events = False
        self._intervals.drop(None)
        self._by_command = False

    def end_without_audience(self) -> None:
        """Ends sampling that a command started."""
        if self._by_command:
            self.stop()

    @property
    def fetched_often(self) -> bool:
        """Whether a client waits for its events, or they have to be fetched."""
        return not self.profiler.adds_up or (self.events and self._audience())

    # -- answers

    def state(self) -> CpuStateAnswer:
        """The answer of ``start_cpu_polling``."""
        profiler = self.profiler
        return {"running": profiler.running, "clock": profiler.clock, "events": self.events, **profiler.interval()}

    def profile(self, cursor: int | None) -> bytes:
        """The answer of ``cpu_profile``."""
        self._lingering.sign_of_life()
        return self.profiler.profile(cursor)

    def switch_events(self, wanted: bool) -> CpuStateAnswer:
        """The answer of ``cpu_events``."""
        self.publish(wanted)
        self._lingering.sign_of_life()
        return self.state()

    def wish_interval(self, client: str, microseconds: int) -> CpuIntervalAnswer:
        """The answer of ``set_cpu_interval``: the shortest interval that a client wants is in force."""
        self._lingering.sign_of_life()
        self._intervals.make(client, microseconds)
        self.see_to_wishes()
        return self.profiler.interval()

    def wish_waits(self, client: str, wanted: bool) -> WaitProfileAnswer:
        """The answer of ``wait_profile``."""
        self._lingering.sign_of_life()
        if wanted:
            self._waits.make(client, True)
        else:
            self._waits.drop(client)
        self.see_to_wishes()
        return {"wanted": wanted, "active": self.profiler.wait_sampler.wanted and self.profiler.running}

    # -- clients

    def sign_of(self, client: str, *, polls: bool = False) -> None:
        """Notes that a client has sent a command.

        Args:
            client: its name.
            polls: whether the command shows that the client will send more of them.
        """
        known = [wishes.sign_of(client, polls) for wishes in (self._intervals, self._waits)]
        if any(known):
            self.see_to_wishes()

    def goodbye(self, client: str) -> None:
        """Drops a client's wishes when it goes."""
        self._intervals.drop(client)
        self._waits.drop(client)
        self.see_to_wishes()

    def see_to_wishes(self) -> None:
        """Gives the profiler the wishes of present clients."""
        audience = self._audience()
        interval = min(self._intervals.in_force(audience), default=self._interval)
        if interval != self.profiler.sampler.interval_usec:
            self.profiler.sampler.interval_usec = interval
        self.profiler.wait_sampler.wanted = bool(self._waits.in_force(audience))

    def check(self) -> BaseException | None:
        """The exception that ended the sampler's thread, once; None while there is none."""
        failure, self.profiler.sampler.failure = self.profiler.sampler.failure, None
        if failure is not None:
            self.stop()
        return failure
