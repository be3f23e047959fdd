"""CPU samples."""

from __future__ import annotations

from typing import Final, Literal, TypedDict

from .command import CURSOR, SWITCH, Argument, Command
from .stacks import StackFrame

__all__ = [
    "COMMANDS",
    "INTERVAL_RANGE",
    "CpuIntervalAnswer",
    "CpuProfileAnswer",
    "CpuStateAnswer",
    "SampledStack",
    "WaitProfileAnswer",
    "WatchingCost",
]

INTERVAL_RANGE: Final = range(100, 10_000_001)
"""Microseconds between two samples that may be asked for."""


class CpuIntervalAnswer(TypedDict):
    """How often samples are taken."""

    interval_us: int
    """The interval in force, in microseconds: the shortest that any client asks for."""
    effective_interval_us: int
    """How far two looks at the process are really apart: the Python sampler does not look more often than every 10,000
    us."""


class CpuStateAnswer(CpuIntervalAnswer):
    """How CPU samples are taken now."""

    running: bool
    """Whether the sampler is on."""
    clock: Literal["cpu", "wall"]
    """What published samples are worth, and the ``weight_us`` of ``cpu_profile``: chosen by ``use_cpu_time`` and
    ``use_wall_time``, by one client for all."""
    events: bool
    """Whether single samples are published."""


class WaitProfileAnswer(TypedDict):
    """Whether waits of requests are sampled."""

    wanted: bool
    """Whether this client wants it."""
    active: bool
    """Whether it is done, for anybody, since the sampler runs."""


class WatchingCost(TypedDict):
    """Microseconds of CPU time that watching has taken, whoever asks; the difference of two answers is the cost in
    between."""

    since: float
    """Wall-clock milliseconds."""
    until: float
    """Wall-clock milliseconds."""
    server_us: int
    """Used by the embedded server's thread."""
    sampler_us: int
    """Used by the sampler's own threads."""
    application_us: int
    """Used in the application's threads: looks, the noting of switches and collections, and, as far as samples tell,
    sessions, pages and callbacks of this package."""


class SampledStack(TypedDict):
    """What was sampled of one stack of one thread in one request."""

    wall_us: int
    """Microseconds."""
    cpu_us: int
    """Microseconds of CPU time."""
    weight_us: int
    """The one or the other, as ``clock`` says; 0 of a stack that waits where that is ``cpu``."""
    waiting: bool
    """Whether it is that of a request's greenlet that was parked there, sampled while ``wait_profile`` is on for any
    client; it has no CPU time, and its time is no thread's: many greenlets wait at once. All others are what threads
    were at, a thread that waits (for a lock, for its event loop) among them, with some ``wall_us`` and no
    ``cpu_us``."""
    count: int
    """How many samples."""
    thread: int
    """The thread's identity."""
    request: str | None
    """The name of the request; None where it belongs to none."""
    frames: tuple[int, ...]
    """Indices into ``frames`` of the answer, innermost frame first."""


class CpuProfileAnswer(CpuIntervalAnswer):
    """What has been sampled since the cursor, added up. Every sample weighs time *and* CPU time, so which of them is
    looked at is the choice of whoever looks, and so is whether waiting requests are."""

    cursor: int
    """What to send next time, to get what comes after this answer."""
    running: bool
    """Whether the sampler is on."""
    clock: Literal["cpu", "wall"]
    """What ``weight_us`` is, and what published samples are worth; for old readers."""
    since: float
    """Wall-clock milliseconds: what the answer covers."""
    until: float
    """Wall-clock milliseconds."""
    samples: int
    """How many it adds up."""
    wall_us: int
    """Microseconds of all threads, the sum of ``wall_us`` of the stacks that do not wait."""
    cpu_us: int
    """Microseconds of CPU time that all threads have used, the sum of the stacks' ``cpu_us``."""
    waiting_us: int
    """Microseconds of parked greenlets, the sum of ``wall_us`` of the stacks that wait."""
    weight_us: int
    """The sum of the stacks' ``weight_us``."""
    lost_us: int
    """Of ``wall_us`` and ``waiting_us``, what was sampled since the cursor and is no longer kept (5 minutes are, or
    less where stacks are very many)."""
    watching: WatchingCost
    """What it has cost to watch."""
    frames: list[StackFrame]
    """Each line of each function in ``stacks``, once."""
    stacks: list[SampledStack]
    """Those of the most ``wall_us`` first."""
    threads: dict[int, str]
    """Names of the threads in ``stacks``, by identity."""
    unseen: str | None
    """What of the process is not sampled at the moment, for people: the threads of other interpreters than the
    application's; None for nothing."""


COMMANDS: Final = (
    Command("start_cpu_profiling", "CPU samples are taken and published, by the clock chosen.", native=True),
    Command("stop_cpu_profiling", "None are taken any more.", native=True),
    Command("use_cpu_time", "Samples published from the next start on are worth CPU time.", native=True),
    Command("use_wall_time", "Samples published from the next start on are worth wall time.", native=True),
    Command(
        "cpu_profile",
        "What has been sampled since the cursor.",
        (CURSOR,),
        (CpuProfileAnswer,),
        optional=1,
        polls=True,
    ),
    Command("start_cpu_polling", "CPU samples are taken, for clients that poll.", answer=(CpuStateAnswer,)),
    Command("cpu_events", "Whether single CPU samples are published, to anybody.", (SWITCH,), (CpuStateAnswer,)),
    Command(
        "set_cpu_interval",
        "How often this client wants samples.",
        (Argument("usec", "the interval in microseconds", limits=(INTERVAL_RANGE.start, INTERVAL_RANGE.stop - 1)),),
        (CpuIntervalAnswer,),
    ),
    Command("wait_profile", "Whether this client wants waiting requests sampled.", (SWITCH,), (WaitProfileAnswer,)),
)
