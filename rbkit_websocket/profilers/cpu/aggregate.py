"""CPU samples, kept twice: aggregated for polling clients, and as protocol events for subscribers.

Without a cursor it covers everything kept. Cursors count the microseconds sampled so far, so that any number of clients
poll with their own without knowing of one another, and a lost stretch is known exactly. A cursor of a server that has
ended is answered with everything kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from ...native.loader import NativeUnavailable
from ...protocol.codec import pack_map
from ...protocol.commands.cpu import CpuIntervalAnswer
from ...system.clock import time
from ..base import Host, Profiler, thread_facts
from ..greenlets.registry import GreenletRegistry
from ..greenlets.stacks import innermost_frames
from ..greenlets.wait_profile import WaitSampler
from ..requests.tracker import REQUESTS
from ..thread_frames import unseen
from .events import SampleEvents
from .fold import AnyStack, Entry, folding
from .native import NativeSampler
from .sampler import Clock, CpuSampler, Held, Sample
from .watching import Watching

__all__ = ["CpuProfiler"]

RETENTION: Final = 300.0
BUCKET: Final = 1.0
# A stack of 30 frames takes about half a KiB, so these are some MiB. An entry is a stack in a request in a second, and
# takes some 120 bytes.
MAX_STACKS: Final = 10_000
MAX_ENTRIES: Final = 200_000
# To list all stacks may take one part in so many of the time.
_ADOPTING: Final = 100


class _Bucket:
    """The samples of about a second."""

    __slots__ = ("before", "cpu", "drained", "samples", "since", "sums", "until", "waiting", "wall")

    def __init__(self, before: int) -> None:
        self.before = before  # the time sampled before this bucket: its cursor
        self.since = self.until = time.time() * 1000
        self.wall = self.cpu = self.waiting = 0
        self.samples = 0
        # By stack, request and whether it waits: time, CPU time and count.
        self.sums: dict[tuple[AnyStack, str | None, bool], list[int]] = {}
        self.drained: list[Sequence[Entry]] = []  # as the native sampler gives them, which has added them up

    def add(self, stack: AnyStack, name: str | None, wall: int, cpu: int, count: int, waiting: bool) -> None:
        """Adds to one of the sums."""
        total = self.sums.setdefault((stack, name, waiting), [0, 0, 0])
        total[0] += wall
        total[1] += cpu
        total[2] += count

    @property
    def after(self) -> int:
        """The time sampled before its end."""
        return self.before + self.wall + self.waiting

    def close(self) -> None:
        """Joins many parts to one: most of their stacks are the same."""
        if len(self.drained) > 1:
            parts, self.drained = self.drained, []
            for part in parts:
                for entry in part:
                    self.add(*entry)
            # As a list of entries again: less than half the memory, and nothing to make for each reader.
            self.drained, self.sums = self.parts(), {}

    def __len__(self) -> int:
        """The number of entries."""
        return len(self.sums) + sum(map(len, self.drained))

    def parts(self) -> list[Sequence[Entry]]:
        """All entries, in the form that is folded."""
        sums: list[Entry] = [
            (stack, name, wall, cpu, count, waiting) for (stack, name, waiting), (wall, cpu, count) in self.sums.items()
        ]
        return [*self.drained, sums]

    def stacks(self) -> set[AnyStack]:
        """The stacks in this bucket."""
        return {entry[0] for part in self.parts() for entry in part}


class CpuProfiler(Profiler):
    """The sampler with its memory. All methods are called by the server's thread.

    Args:
        host: the process.
        signum: the signal of the native sampler; None: its default, 0: none.
        registry: the process's greenlets.
    """

    def __init__(self, host: Host, signum: int | None = None, registry: GreenletRegistry | None = None) -> None:
        self._host = host
        self._registry = registry or GreenletRegistry(host)
        self._watching = Watching()
        self.sampler: CpuSampler | NativeSampler
        self._no_native = ""
        try:
            self.sampler = NativeSampler(host, signum)
        except NativeUnavailable as reason:
            self._fall_back(reason)
        self.wait_sampler = WaitSampler(host, self._registry)
        self._adopt_at: float | None = None
        self.next_clock: Clock = "cpu"
        self._clock: Clock = "cpu"
        self._buckets: deque[_Bucket] = deque()
        self._entries = 0  # in all buckets
        self._current = _Bucket(0)
        self._folding = folding()
        self._stacks: dict[tuple[int, ...], AnyStack] = {}
        self._natives: set[AnyStack] = set()
        self._names: dict[int, str] = {}
        self._events = SampleEvents()
        self._raw = False
        self._unsent: list[Sample] = []
        self._lost = 0

    @property
    def running(self) -> bool:  # type: ignore[override]
        return self.sampler.running

    @property
    def clock(self) -> Clock:
        """The clock of published samples; where no sampler runs, that of the next start."""
        return self._clock if self.running else self.next_clock

    def choose_clock(self) -> None:
        """Switches published samples to the clock that has been asked for."""
        self._clock = self.next_clock

    @property
    def adds_up(self) -> bool:
        """Whether samples need no fetching before a bucket is full."""
        return isinstance(self.sampler, NativeSampler) and not self.wait_sampler.polls

    @property
    def native(self) -> str:
        """``yes``, perhaps with a reserve, or ``no`` and why not, for the handshake."""
        if isinstance(self.sampler, NativeSampler):
            refusal = self.sampler.refusal
            if refusal is not None:
                return f"no: {refusal}; a native thread looks 190 times a second"
            reserve = self.sampler.reserve
            return f"yes: with public functions alone ({reserve})" if reserve else "yes"
        return f"no: {self._no_native}; a Python thread samples at 100 Hz"

    def _fall_back(self, reason: NativeUnavailable) -> None:
        self._no_native = str(reason)
        sampler = CpuSampler(self._host)
        if hasattr(self, "sampler"):
            sampler.interval_usec = self.sampler.interval_usec
        self.sampler = sampler

    def start(self) -> None:
        if not self.running:
            self._close_bucket()
            self.choose_clock()
            # Tracked first, so that none is missed; noted before the first look, since a thread at rest gets no other.
            REQUESTS.want(self, True)
            self._adopt()
            self._adopt_at = time.monotonic()  # once more: a greenlet may have been between two of its places
            try:
                self.sampler.start()
            except NativeUnavailable as reason:
                self._fall_back(reason)
                self.sampler.start()
            self._current = _Bucket(self._current.before)

    def _adopt(self) -> None:
        """Notes requests that began before the sampler did, again and again while there are any."""
        began = time.monotonic()
        with innermost_frames(self._host, self._registry) as frames:
            any_left = REQUESTS.adopt(frames)
        now = time.monotonic()
        self._adopt_at = now + max(BUCKET, (now - began) * _ADOPTING) if any_left else None

    def stop(self) -> None:
        if self.running:
            self.sampler.stop()
            REQUESTS.want(self, False)
            self._adopt_at = None
            self._collect()
            self._close_bucket()

    def catch_up(self) -> None:
        """Takes a look that is overdue; called as soon as this thread may run."""
        self.sampler.catch_up()

    def held(self) -> Held | None:
        """The last long time in which the main thread let no other thread run, as far as samples tell."""
        return self.sampler.held() if self.running else None

    def interval(self) -> CpuIntervalAnswer:
        """The interval asked for and how far two looks are really apart, in microseconds."""
        return {
            "interval_us": self.sampler.interval_usec,
            "effective_interval_us": self.sampler.effective_interval_usec,
        }

    def drain(self, audience: bool) -> Iterable[bytes]:
        self._raw = audience
        full = (time.time() * 1000 - self._current.since) / 1000 >= BUCKET
        if full or audience or not self.adds_up:
            self._collect()
        if full:
            self._close_bucket()
        samples, self._unsent = self._unsent, []
        return self._events.pack(samples, self.sampler.interval_usec, self._clock)

    def _collect(self) -> None:
        """Takes the sampler's samples; those for subscribers wait for the next :meth:`drain`."""
        if self._adopt_at is not None and time.monotonic() >= self._adopt_at:
            self._adopt()
        if isinstance(self.sampler, NativeSampler):
            totals, samples, lost = self.sampler.drain(self._clock if self._raw else None)
            self._add_drained(totals)
            self._lost += lost
        else:
            samples = self.sampler.take()
            self._feed(samples)
        looked, measured, lost = self.wait_sampler.take(self.running)
        self._feed(looked)
        self._add_drained(measured, waiting=True)
        self._lost += lost
        if self._raw:
            self._unsent += samples

    def profile(self, cursor: int | None = None) -> bytes:
        """The answer of ``cpu_profile`` (a :class:`CpuProfileAnswer`), packed."""
        self._collect()
        self._close_bucket()
        end = self._current.before
        first = self._buckets[0].before if self._buckets else end
        if cursor is None or cursor > end:
            cursor = first
        buckets = [bucket for bucket in self._buckets if bucket.before >= cursor]
        wall, cpu, waiting = (
            sum(getattr(bucket, sampled) for bucket in buckets) for sampled in ("wall", "cpu", "waiting")
        )
        by_cpu = self.clock == "cpu"
        frames, stacks, threads = self._folding.fold([part for bucket in buckets for part in bucket.parts()], by_cpu)
        answer = {
            "cursor": end,
            "running": self.running,
            "clock": self.clock,
            **self.interval(),
            "since": buckets[0].since if buckets else self._current.since,
            "until": buckets[-1].until if buckets else self._current.since,
            "samples": sum(bucket.samples for bucket in buckets),
            "wall_us": wall,
            "cpu_us": cpu,
            "waiting_us": waiting,
            "weight_us": cpu if by_cpu else wall + waiting,
            "lost_us": end - cursor - wall - waiting,
            "watching": self._watching.figures(self.sampler.cost()),
            "threads": {ident: self._names.get(ident, f"thread {ident}") for ident in sorted(threads)},
            "unseen": unseen(),
        }
        return pack_map(answer, frames=frames, stacks=stacks)

    def _feed(self, samples: list[Sample]) -> None:
        if not samples:
            return
        if len(self._names) > MAX_STACKS:
            self._names.clear()
        self._names.update((ident, facts.name) for ident, facts in thread_facts(self._host).items())
        bucket = self._current
        if not bucket.samples:
            bucket.since = samples[0].milliseconds
        for sample in samples:
            key = (sample.thread, *map(id, sample.stack[0::2]), *sample.stack[1::2])
            stack = self._stacks.get(key)
            if stack is None:
                # It holds the code objects, so their identities stay theirs for as long as the key is here.
                stack = self._stacks[key] = self._folding.stack(sample.thread, sample.stack)
            name = sample.request.name if sample.request is not None else None
            wall, cpu = round(sample.wall), round(sample.cpu)
            bucket.add(stack, name, wall, cpu, 1, sample.waiting)
            self._watching.add([(stack, cpu)])
            bucket.cpu += cpu
            if sample.waiting:
                bucket.waiting += wall
            else:
                bucket.wall += wall
        bucket.samples += len(samples)
        bucket.until = samples[-1].milliseconds

    def _add_drained(self, totals: Sequence[Entry], *, waiting: bool = False) -> None:
        if not totals:
            return
        self._names.update((ident, facts.name) for ident, facts in thread_facts(self._host).items())
        bucket = self._current
        bucket.drained.append(totals)
        # No loop of Python's for each: there may be thousands a second.
        stacks, _, walls, cpus, counts, _ = zip(*totals, strict=True)
        self._natives.update(stacks)
        self._watching.add(zip(stacks, cpus, strict=True))
        if waiting:
            bucket.waiting += sum(walls)
        else:
            bucket.wall += sum(walls)
        bucket.cpu += sum(cpus)
        bucket.samples += sum(counts)
        bucket.until = time.time() * 1000

    def _close_bucket(self) -> None:
        bucket = self._current
        self._current = _Bucket(bucket.after + self._overrun())
        if bucket.samples:
            bucket.close()
            self._buckets.append(bucket)
            self._entries += len(bucket)
        while self._buckets and self._current.since - self._buckets[0].since > RETENTION * 1000:
            self._drop_oldest()
        while len(self._buckets) > 1 and self._entries > MAX_ENTRIES:
            self._drop_oldest()
        while len(self._stacks) + len(self._natives) > MAX_STACKS and self._buckets:
            for _ in range((len(self._buckets) + 1) // 2):
                self._drop_oldest()
            kept = set().union(*(bucket.stacks() for bucket in self._buckets))
            self._stacks = {key: stack for key, stack in self._stacks.items() if stack in kept}
            self._natives &= kept

    def _drop_oldest(self) -> None:
        self._entries -= len(self._buckets.popleft())

    def _overrun(self) -> int:
        """Weight that the sampler had to drop since it was last asked."""
        lost, self._lost = self._lost, 0
        if isinstance(self.sampler, CpuSampler):
            lost += round(self.sampler.lost_usec)
            self.sampler.lost_usec = 0.0
        return lost
