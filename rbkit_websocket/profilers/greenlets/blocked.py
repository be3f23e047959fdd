"""Blocks of the event loop, for ``blocked``.

The server's native thread compares the loop's count of turns with the one before, a tenth of a second
apart while the limit is 0.1, a second else (a fifth of the limit if that is less), and looks when the present turn
began. Nothing is added to the loop. A turn that goes on for the limit, in Python or below and not in the loop's own
wait, with one and the same greenlet for half of that time, is a block. So a block of 0.1 s may be missed, one of 0.15 s
is not; its seconds count from the beginning of the turn. A call in C that keeps the interpreter's lock stops the native
thread as well: it is counted when it has returned, at the line that it returned to. Where other threads want the lock
too, one of them may get it first, and the loop may go on before the native thread runs; samples of the CPU sampler,
while it runs, then tell where the time went.

A program that waits outside of its loop without using the processor is no block: a gunicorn master that has loaded a
patched application (``--preload``) never goes to its loop, and holds no request up.

Each block that passes ``blocked_log`` is written to stderr at once, by the native thread, because the application's
logging may need the very loop that is blocked; and logged as a WARNING of ``rbkit_websocket`` when the loop goes on,
with the seconds that it took.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Final

from ...protocol.commands.stacks import BlockedAnswer, BlockNow, StackFrame
from ...system.clock import time
from ..base import Host, cpu_clock, thread_facts
from ..cpu.sampler import Held
from ..requests.tracker import REQUESTS
from ..thread_frames import current_frames, unseen
from .culprits import by_line
from .registry import EventLoop, GreenletRegistry
from .stacks import stack_of, stack_of_code

__all__ = ["WATCHED_LIMIT", "LoopWatch"]

WATCHED_LIMIT: Final = 0.1
_PERIOD: Final = 0.1
_CALM_PERIOD: Final = 1.0
_ASKED_LATELY: Final = 10.0
_MAX_KINDS: Final = 200
# A thread that uses more of a processor computes.
_AT_WORK: Final = 0.1
_MAX_LOGGED_FRAMES: Final = 40


@dataclass
class _Kind:
    """Blocks with one stack and request."""

    request: str | None
    stack: list[StackFrame]
    count: int = 0
    total: float = 0.0
    longest: float = 0.0
    last: float = 0.0


@dataclass
class _Block:
    """One block, from when it has passed the limit."""

    kind: _Kind
    since: float
    written: bool = False
    ended: float | None = None
    free_at: float | None = None

    def seconds(self, now: float) -> float:
        """Seconds that it has taken, until ``now`` if it is not known to have ended."""
        end = self.ended if self.ended is not None else self.free_at
        return max((now if end is None else end) - self.since, 0.0)


class LoopWatch:
    """Watches one event loop. All methods are called by the server's thread.

    Args:
        host, registry: the process and its greenlets.
        loop: the event loop.
        log_limit: ``blocked_log``; 0: nothing is logged.
        tell: writes a text to stderr at once.
        log: logs a warning in the application's thread, when that gets to it.
        on_free: has a function called in the application's thread, when that gets to it.
        held: gives the last long time in which the main thread let no other thread run, if known.
    """

    def __init__(
        self,
        host: Host,
        registry: GreenletRegistry,
        loop: EventLoop,
        log_limit: float,
        tell: Callable[[str], object],
        log: Callable[[str], object],
        on_free: Callable[[Callable[[], object]], object],
        held: Callable[[], Held | None] = lambda: None,
    ) -> None:
        self._host = host
        self._registry = registry
        self._loop = loop
        self._log_limit = log_limit
        self._tell = tell
        self._log = log
        self._on_free = on_free
        self._held = held
        self._asked = -_ASKED_LATELY
        self._limit = 0.0
        self._next: float | None = None
        # The present turn of the loop: its number, its begin, the greenlet seen in it, and since when.
        self._turn = loop.turn()[0]
        self._began: float | None = None
        self._culprit: Any = None
        self._seen: float | None = None
        self._looked = 0.0
        self._native_id = facts.native_id if (facts := thread_facts(host).get(loop.thread or 0)) else None
        # When the turn was first seen, and the processor time that the thread had used by then.
        self._used: tuple[float, float | None] = 0.0, None
        self._block: _Block | None = None
        self._kinds: dict[Any, _Kind] = {}
        self._since = time.time() * 1000
        self._count = 0
        self._total = 0.0
        self._longest = 0.0

    # -- the server's loop

    def deadline(self, audience: bool) -> float | None:
        """The monotonic time of the next :meth:`tick`; None: nothing is watched."""
        if not self._set_limit(audience):
            return None
        return self._next if self._next is not None else 0.0

    def tick(self, now: float, audience: bool) -> None:
        """Looks, if it is time."""
        if not self._set_limit(audience):
            self._next = None
        elif self._next is None or now >= self._next:
            try:
                self._look(now)
            except ValueError:  # the loop has been destroyed
                self._limit = self._log_limit = 0.0
                self._asked = -_ASKED_LATELY
                self._loop = EventLoop.gone()

    def _set_limit(self, audience: bool) -> float:
        watched = audience or time.monotonic() - self._asked < _ASKED_LATELY
        limit = WATCHED_LIMIT if watched else self._log_limit
        if self._loop.thread is None:
            limit = 0.0
        if limit != self._limit:
            self._limit = limit
            self._next = None
        return limit

    def _look(self, now: float) -> None:
        frames = current_frames()
        if frames is not None:
            self._look_at(frames.get(self._loop.thread or 0), now)
        else:  # whether the loop waits cannot be told
            self._next = now + _CALM_PERIOD
            self._free(now)
            self._turn, self._began = -1, None

    def _look_at(self, frame: FrameType | None, now: float) -> None:
        period = _PERIOD if self._limit == WATCHED_LIMIT else min(_CALM_PERIOD, self._limit / 5)
        planned, self._next = self._next, now + period
        turn, age = self._loop.turn()
        # A greenlet that runs only C has no frame at all. Nor has a thread that has ended, but the main one stays.
        idle = self._loop.is_idle(frame) if frame is not None else self._loop.thread != self._host.main_ident
        if not self._loop.serves:
            # A program may have a hub that it hardly ever goes to.
            self._loop.serves = idle or turn != self._turn
            self._turn = turn
            return
        same = turn == self._turn and self._began is not None and not idle
        if not same:
            self._free(now)
            self._turn, self._seen, self._culprit = turn, None, None
            self._used = now, cpu_clock(self._native_id)
            # It cannot have begun before a look that saw another one, even if the clock was set meanwhile.
            self._began = None if idle else min(max(now - age, self._looked), now)
        self._looked = now
        if self._began is None:
            return
        half = self._began + self._limit / 2
        if now < half:
            self._next = min(self._next, half)
            return
        # Finding the greenlet costs a look at each one, so only turns that last are looked at.
        culprit = self._registry.running_in(self._loop.thread)
        if self._seen is None or culprit is not self._culprit:
            if self._seen is not None:
                self._free(now)
                self._began = now  # the former greenlet has let go; this one began somewhere in between
                planned = None
            self._culprit, self._seen = culprit, now
            if planned is not None and now - planned > self._limit / 2:
                # We were not let in when we wanted to look: a call in C kept the interpreter's lock, and has just
                # returned to the greenlet that we see.
                self._seen = max(self._began, planned)
        due = max(self._began + self._limit, self._seen + self._limit / 2)
        if now < due:
            self._next = min(self._next, due)
            return
        if self._block is None and self._is_elsewhere(frame, now):
            self._began = None
            return
        self._go_on(self._block or self._begin(frame, now), now)

    def _is_elsewhere(self, frame: Any, now: float) -> bool:
        """Whether the thread's own program, no greenlet of the loop, waits for an event outside of the loop.

        The master of a web server does that for good when it has loaded an application that patches, and never goes to
        the loop: it holds no requests up.
        """
        since, before = self._used
        used = cpu_clock(self._native_id)
        if before is None or used is None or used - before > _AT_WORK * (now - since):
            return False
        outermost = REQUESTS.walk(frame).outermost
        # A greenlet's outermost frame is a function's.
        return outermost is not None and outermost.co_name in ("<module>", "_run_module_as_main")

    # -- one block

    def _begin(self, frame: Any, now: float) -> _Block:
        assert self._began is not None
        stack, request = self._culprits_stack(frame, self._began, now)
        key = (request, tuple((entry[2], entry[4], entry[0]) for entry in stack))
        kind = self._kinds.pop(key, None) or _Kind(request, stack)
        self._kinds[key] = kind
        if len(self._kinds) > _MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]
        self._count += 1
        kind.count += 1
        self._block = block = _Block(kind, self._began)
        thread, get_ident = self._loop.thread, self._host.get_ident

        def free() -> None:
            if get_ident() == thread:
                block.ended = time.monotonic()

        self._on_free(free)
        return block

    def _culprits_stack(self, frame: Any, began: float, now: float) -> tuple[list[StackFrame], str | None]:
        """The loop's stack, or its stack for most of the time if it let no other thread run then."""
        held = self._held() if self._loop.thread == self._host.main_ident else None
        if held is not None and 2 * (min(held.ended, now) - max(held.began, began)) > now - began:
            name = held.request.name if held.request is not None else None
            return stack_of_code(held.codes, held.instructions), name
        stack, request = stack_of(frame)
        return stack, request.name

    def _go_on(self, block: _Block, now: float) -> None:
        block.free_at = None
        block.kind.last = time.time() * 1000
        if self._log_limit and not block.written:
            due = block.since + self._log_limit
            if now >= due:
                block.written = True
                self._tell(self._text(block, f"has been blocked for {block.seconds(now):.1f} s", ", and still is"))
            else:
                assert self._next is not None
                self._next = min(self._next, due)

    def _free(self, now: float) -> None:
        """The loop has gone on, so a block has ended. The exact time comes from the loop, a moment later."""
        block = self._block
        if block is None:
            return
        if block.ended is None and block.free_at is None:
            block.free_at = now
            self._next = now + 0.02
            return
        seconds = block.seconds(now)
        kind = block.kind
        self._total += seconds
        self._longest = max(self._longest, seconds)
        kind.total += seconds
        kind.longest = max(kind.longest, seconds)
        kind.last = time.time() * 1000
        self._block = None
        if block.written:
            self._log(self._text(block, f"was blocked for {seconds:.1f} s", ""))

    def _text(self, block: _Block, what: str, more: str) -> str:
        whom = block.kind.request or "something that is no request"
        frames = block.kind.stack
        lines = [f"rbkit: the event loop of process {os.getpid()} {what} by {whom}{more}. Innermost call first:"]
        lines += [f"  {label} in {file}:{line}" for _, label, file, _, line in frames[:_MAX_LOGGED_FRAMES]]
        if len(frames) > _MAX_LOGGED_FRAMES:
            lines.append(f"  and {len(frames) - _MAX_LOGGED_FRAMES} more")
        return "\n".join(lines)

    # -- the command

    def answer(self, audience: bool) -> BlockedAnswer:
        """The answer of ``blocked``."""
        now = self._asked = time.monotonic()
        limit = self._set_limit(audience)
        block = self._block
        lasting: BlockNow | None = None
        seconds = 0.0
        if block is not None:
            seconds = block.seconds(now)
            if block.ended is None and block.free_at is None:
                lasting = {"seconds": seconds, "request": block.kind.request, "stack": block.kind.stack}
        kinds = [
            replace(kind, total=kind.total + seconds, longest=max(kind.longest, seconds))
            if block is not None and kind is block.kind
            else kind
            for kind in self._kinds.values()
        ]
        return {
            "limit": limit,
            "log_limit": self._log_limit,
            "since": self._since,
            "count": self._count,
            "total": self._total + seconds,
            "longest": max(self._longest, seconds),
            "now": lasting,
            "unseen": unseen(),
            "stacks": by_line(kinds, REQUESTS.names.settled),
        }
