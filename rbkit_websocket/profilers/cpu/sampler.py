"""The CPU sampler in pure Python: a native thread that looks at every thread's stack up to 100 times a second.

It runs only while profiling is on. A sample weighs not one tick, but the time since the thread's last sample and the
CPU time that the thread has used since. So the sums are right however late the sampler wakes up, as it does while
another thread holds the interpreter.

It sees Python frames of native threads. Under gevent the main thread's stack is that of the running greenlet; an idle
worker's samples sit in ``Hub.run``. CPU time is known of threads whose kernel id ``threading`` knows (main thread and
``threading.Thread``); CPU time of others counts as none.

After a call in C that has kept the interpreter's lock, the first thread of ours that runs again takes the look that is
due (:meth:`CpuSampler.catch_up`): the application would go on before the next one.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from types import FrameType
from typing import Any, Final, Literal, NamedTuple

from ...system.clock import time
from ..base import CALLBACKS, PACKAGE, Host, cpu_clock, named_code, thread_facts
from ..depth import LONGEST
from ..requests.tracker import REQUESTS, Request, Streamed
from ..thread_frames import current_frames

__all__ = ["MINIMUM_PERIOD_USEC", "CpuSampler", "Held", "Sample", "walk"]

MINIMUM_PERIOD_USEC: Final = 10_000
"""100 Hz. A Python thread that wants more gets no more, or slows the application by several per cent."""
_MAX_WAITING: Final = 20_000
# Seconds after which another thread takes a look in the sampler's place.
_LATE: Final = 0.005
# Seconds: a longer collection has its own stack, shorter ones that of the next look. On a busy machine that may come
# much later, when the thread is elsewhere; so many of the longer are kept until then.
_BRIEF: Final = 0.001
_MAX_COLLECTIONS: Final = 100
# Seconds after which a main thread that lets no other thread run is remembered, as a possible block.
_LONG: Final = 0.05

COLLECTOR: Final = named_code("(garbage collection)")
"""A collection, in a stack where a function's code stands."""

Clock = Literal["cpu", "wall"]


class Sample(NamedTuple):
    """One look at one thread."""

    milliseconds: float
    thread: int
    stack: Any
    """Code, instruction, code, instruction, ... innermost first; of the native sampler its own kind of stack."""
    wall: float
    """Microseconds since the thread's last sample."""
    cpu: float
    """Microseconds of CPU that it has used since."""
    threads: int
    """The number of threads that this look found."""
    request: Request | Streamed | None = None
    """The request that the stack belongs to."""
    waiting: bool = False
    """A parked greenlet, which takes no thread's time."""


class Held(NamedTuple):
    """A time in which the main thread let no other thread look at it."""

    began: float
    """Seconds of the monotonic clock."""
    ended: float
    codes: tuple[Any, ...]
    """Its stack when it did; innermost first."""
    instructions: tuple[int, ...]
    request: Request | Streamed | None


class _Run:
    """One run of the sampler's thread. A later run gets another, so a late thread cannot take its orders."""

    def __init__(self, host: Host) -> None:
        self.alarm = host.allocate_lock()
        self.alarm.acquire()
        self.done = host.allocate_lock()
        self.done.acquire()
        self.looking = host.allocate_lock()
        self.looker = _Looker(host)
        self.due = 0.0


class CpuSampler:
    """Takes samples; :meth:`take` hands them out. Started, stopped and read by one thread, the server's."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._run: _Run | None = None
        self._waiting: deque[Sample] = deque()
        self.interval_usec = 1000
        self.lost_usec = 0.0
        self._spent = 0.0
        self.failure: BaseException | None = None

    @property
    def running(self) -> bool:
        return self._run is not None

    @property
    def effective_interval_usec(self) -> int:
        """Microseconds between two looks: the interval, or 10 ms if that is longer."""
        return max(self.interval_usec, MINIMUM_PERIOD_USEC)

    def start(self) -> None:
        if self._run is not None:
            return
        self.failure = None
        run = _Run(self._host)
        gc.callbacks.insert(0, run.looker.on_collection)
        self._host.start_new_thread(self._main, (run,))
        self._run = run
        REQUESTS.want(self, True)

    def stop(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            REQUESTS.want(self, False)
            _ignore_collections(run)
            run.alarm.release()
            run.done.acquire(True, 1.0)

    def forget(self) -> None:
        """Forgets the run in a forked child, where there is no thread of ours to wait for."""
        if self._run is not None:
            _ignore_collections(self._run)
        self._run = None
        REQUESTS.forget()

    def take(self) -> list[Sample]:
        """The samples since the last call, oldest first."""
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken

    def _main(self, run: _Run) -> None:
        ident = self._host.get_ident()
        self._host.own.add(ident)
        try:
            next_look, spent = time.monotonic(), time.thread_time()
            while True:
                now = time.monotonic()
                run.due = next_look = max(next_look + self.effective_interval_usec / 1e6, now)
                # The alarm is an original lock: waiting for it is a sleep that stop() ends.
                if run.alarm.acquire(True, next_look - now):
                    return
                with self._host.quiet(), run.looking:
                    self._put(run.looker.look())
                self._spent += time.thread_time() - spent
                spent = time.thread_time()
        except Exception as error:  # noqa: BLE001 - the thread's end; the server's thread logs it
            self.failure = error
        finally:
            self._host.own.discard(ident)
            run.done.release()

    def catch_up(self) -> None:
        """Takes a look that is overdue; called by the server's thread as soon as it may run."""
        run = self._run
        if run is None or time.monotonic() < run.due + _LATE or not run.looking.acquire(False):
            return
        try:
            run.due = time.monotonic() + self.effective_interval_usec / 1e6
            self._put(run.looker.look())
        finally:
            run.looking.release()

    def cost(self) -> tuple[int, int]:
        """Microseconds of CPU time used by its own thread, and by its looks in the application's threads."""
        return round(self._spent * 1e6), 0

    def held(self) -> Held | None:
        """The last long time in which the main thread let no other thread run."""
        return self._run.looker.held if self._run is not None else None

    def _put(self, samples: list[Sample]) -> None:
        for sample in samples:
            if len(self._waiting) >= _MAX_WAITING:
                self.lost_usec += self._waiting.popleft().wall
            self._waiting.append(sample)


class _Seen(NamedTuple):
    """One look's finding of one thread."""

    wall: float
    cpu: float | None
    stack: tuple[Any, ...] = ()
    request: Request | None = None


class _Looker:
    """Takes one look after the other, and keeps each thread's clocks of the last one. Used by one thread at a time."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.held: Held | None = None
        # Collections since the last look: brief ones' time and CPU time by thread, and long ones with their threads.
        self._collected: dict[int, tuple[float, float]] = {}
        self._long: deque[tuple[int, _Collection]] = deque(maxlen=_MAX_COLLECTIONS)
        # The thread that collects, and its clocks when that began.
        self._collects: tuple[int, float, float] | None = None
        self._kernel_ids: dict[int, int] = {}
        self._fresh = False
        self._looked = time.monotonic()
        self._per_thread = sys.platform == "linux"
        self._refresh()
        self._last = {ident: _Seen(self._looked, self._cpu_time(ident)) for ident in current_frames() or ()}

    def look(self) -> list[Sample]:
        now, stamp = time.monotonic(), time.time() * 1000
        elapsed, self._looked = now - self._looked, now
        # No samples while the look is not safe.
        frames = {ident: _called_back(frame) for ident, frame in (current_frames() or {}).items()}
        self._fresh = False
        collections = self._take_long(frames, now)
        seen: dict[int, _Seen] = {}
        samples = []
        number = sum(ident not in self._host.own for ident in frames)
        for ident, frame in frames.items():
            if ident in self._host.own:
                continue
            cpu = self._cpu_time(ident)
            # A thread that was not there before began after the last look, so all it has used counts.
            last = self._last.get(ident) or _Seen(now - elapsed, max(0.0, cpu - elapsed) if cpu is not None else None)
            if last.stack and cpu is not None and cpu == last.cpu:
                stack, request = last.stack, last.request  # it has not run since the last look
            else:
                stack, request = walk(frame)
            seen[ident] = _Seen(now, cpu, stack, request)
            if ident == self._host.main_ident and now - last.wall >= _LONG:
                self.held = Held(last.wall, now, stack[0::2], stack[1::2], request)
            used = max(0.0, cpu - last.cpu) if cpu is not None and last.cpu is not None else 0.0
            wall = now - last.wall
            here = collections.get(ident, [])
            if (brief := self._collected.pop(ident, None)) is not None:
                here.append(_Collection(*brief, stack, request))
            for part in here:
                collecting, computing = min(part.wall, wall), min(part.cpu, used)
                wall, used = wall - collecting, used - computing
                inner = (COLLECTOR, 0, *(part.stack if len(part.stack) < 2 * LONGEST else part.stack[2:]))
                samples.append(Sample(stamp, ident, inner, collecting * 1e6, computing * 1e6, number, part.request))
            samples.append(Sample(stamp, ident, stack, wall * 1e6, used * 1e6, number, request))
        self._last = seen
        return samples

    def _take_long(self, frames: dict[int, FrameType], now: float) -> dict[int, list[_Collection]]:
        """Long collections since the last look, by thread."""
        for ident, frame in frames.items():
            if frame.f_code in CALLBACKS and frame.f_locals.get("phase") == "stop":
                # Its callback waits for our lock and comes too late.
                self._collection_ended(ident, now, self._cpu_time(ident), frame)
        taken: dict[int, list[_Collection]] = {}
        while self._long:
            ident, collection = self._long.popleft()
            taken.setdefault(ident, []).append(collection)
        return taken

    def on_collection(self, phase: str, _info: dict[str, int]) -> None:
        """For ``gc.callbacks``: the collector has no frame, so its time would stand under the next function."""
        ident, now, used = self._host.get_ident(), time.monotonic(), time.thread_time()
        if phase == "start":
            self._collects = ident, now, used
        else:
            self._collection_ended(ident, now, used, sys._getframe())

    def _collection_ended(self, ident: int, now: float, used: float | None, frame: FrameType) -> None:
        begun = self._collects
        if begun is None or begun[0] != ident:
            return
        wall, cpu = now - begun[1], max(0.0, used - begun[2]) if used is not None else 0.0
        ended = ident, _Collection(wall, cpu, *(walk(frame) if wall >= _BRIEF else ((), None)))
        if self._collects is not begun:
            return  # a look that came meanwhile has told of it
        # No other thread runs before this is kept: nothing is called before that.
        self._collects = None
        if wall >= _BRIEF:
            self._long.append(ended)
            return
        if ident in self._collected:
            wall, cpu = wall + self._collected[ident][0], cpu + self._collected[ident][1]
        self._collected[ident] = wall, cpu

    def _refresh(self) -> None:
        self._fresh = True
        self._kernel_ids = {
            ident: facts.native_id for ident, facts in thread_facts(self._host).items() if facts.native_id is not None
        }

    def _cpu_time(self, ident: int) -> float | None:
        """Seconds of CPU that a thread has used; None when it cannot be told."""
        if not self._per_thread:
            return time.process_time() if ident == self._host.main_ident else None
        # Python uses an identity again for the next thread, hence one more try with fresh ids.
        while (used := cpu_clock(self._kernel_ids.get(ident))) is None and not self._fresh:
            self._refresh()
        return used


class _Collection(NamedTuple):
    """Time and CPU time in the collector, and what had it run."""

    wall: float
    cpu: float
    stack: tuple[Any, ...]
    request: Request | Streamed | None


def _called_back(frame: FrameType) -> FrameType:
    """The frame of a callback of ours that is at work, or of one that it has called; else the frame itself."""
    inner: FrameType | None = frame
    while inner is not None and inner.f_code.co_filename.startswith(PACKAGE):
        if inner.f_code in CALLBACKS:
            return inner
        inner = inner.f_back
    return frame


CALLBACKS.add(_Looker.on_collection.__code__)


def _ignore_collections(run: _Run) -> None:
    if run.looker.on_collection in gc.callbacks:
        gc.callbacks.remove(run.looker.on_collection)


def walk(frame: Any) -> tuple[tuple[Any, ...], Request | None]:
    """A stack as :class:`Sample` has it, from its innermost frame, and the request that it belongs to."""
    found = REQUESTS.walk(frame)
    return tuple(found.stack), REQUESTS.of_walk(found)
