"""Objects created and destroyed, told exactly by ``native/trace``, thinned to a rate that a client can take.

Every instance of the traced classes is *counted*. A limited number a second is *followed*: told as an event, with the
place where it was made. Of more objects one in N is drawn at random, and at most 131,072 are followed at once. Each
created event of an object that ends has its destroyed event, in the true order, even where an identity is used again.

Two mechanisms:

- ``hooks``: classes written in Python, with their subclasses and those made later; a class that
  is made in a thread other than the main one may be seen some milliseconds late. Modules, classes, instances of C
  types and of the few classes with an allocator of their own are not seen; nor, and ``note`` names these, of classes
  derived from a type of Python's own that makes or frees objects past the hooks: list and set from 3.14 on, dict from
  3.15 on. Which these are is tried when the extension is imported.
- ``references`` (the interpreter's reference tracer, from 3.13 on): every class. It costs something for each object
  of the process, so it is used only where the hooks do not reach, and only after a trial: up to 3.13.2 it loses the
  ends of objects that bytecode lets go of.

Both are used only on releases of CPython that they have been tested on, or that follow one of these within its minor
version. On others there are the weak references, and ``note`` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from heapq import nlargest
from typing import Any, Final, Literal

from ...native.loader import NativeUnavailable, extension, untested
from ...protocol.codec import pack
from ...protocol.packing import created_event, destroyed_event
from ...system.clock import time
from ..base import Host, code_line

__all__ = ["MAX_FOLLOWED", "NativeTracer"]

MAX_FOLLOWED: Final = 1 << 17
SITES_TOLD: Final = 200
_UNSEEN_TOLD: Final = 10
_AT_A_TIME: Final = 2048
_MOST_PORTIONS: Final = 8  # the rest comes the next time
_CLASSES_AT_A_TIME: Final = 200
_LOOK_FOR_CLASSES: Final = 5.0


class _Probe:
    """A class for the trial of the reference tracer."""


@cache
def _tells_the_truth(native: Any) -> bool:
    """Whether the reference tracer tells each end: tried once in a process, while nothing is traced."""
    native.mute(False)
    native.start(native.REFERENCES, (f"{__name__}._Probe",), 16, False)
    try:
        native.add([_Probe])
        probe: _Probe | None
        for _ in range(4):
            probe = _Probe()
            probe = None  # noqa: F841 - a store lets go of it
            _Probe()
        return [(born, died) for _, born, died in native.counts()] == [(8, 8)]
    finally:
        native.stop()


def _references_fail(native: Any) -> str:
    """The reason why the reference tracer cannot be used; empty where it can. Nothing may be traced meanwhile."""
    if not native.CAN_REFTRACE:
        return "this Python has no reference tracer"
    try:
        return "" if _tells_the_truth(native) else "this Python's reference tracer loses ends: python/cpython#130382"
    except RuntimeError as error:
        return str(error)


def _classes() -> Iterator[list[type]]:
    """All classes of the process, in portions."""
    portion: list[type] = []
    # By identity: a metaclass may have a __hash__ or __eq__ of its own.
    seen: set[int] = {id(object)}
    waiting: list[type] = [object]
    while waiting:
        cls = waiting.pop()
        portion.append(cls)
        if len(portion) >= _CLASSES_AT_A_TIME:
            yield portion
            portion = []
        children: list[type] = type.__subclasses__(cls)
        for child in children:
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append(child)
    yield portion


class NativeTracer:
    """One run at a time in a process. All methods are called by the server's thread.

    Raises:
        NativeUnavailable: there is no extension module, or nothing that it may do in this interpreter.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._native = extension("_trace")
        if not (self._native.CAN_HOOK or self._native.CAN_REFTRACE):
            raise NativeUnavailable(untested(self._native))
        self.running = False
        self.mechanism: Literal["hooks", "references"] = "hooks"
        self.stride = 1
        self.since = 0.0
        self._per_second = 0
        self._looked = self._adapted = 0.0
        self._names: list[str | None] = []
        self._packed: list[bytes] = []
        self._deltas: dict[str, list[int]] = {}
        self._births = 0
        self._refused, self._reason = 0, ""

    def start(self, patterns: tuple[str, ...], per_second: int, *, everything: bool) -> None:
        """Begins to look at the classes that a pattern names.

        Args:
            patterns: with ``*`` for any text; each is compared with the class's qualified name and with its module.
            per_second: how many new objects are followed a second.
            everything: whether classes that the hooks do not reach are worth the reference tracer's price.

        Raises:
            NativeUnavailable: not in this process, or not now.
        """
        native = self._native
        self._per_second = per_second
        reason = "" if everything else "the reference tracer is used only for what trace_objects names"
        try:
            if native.CAN_HOOK:
                self._open(patterns, native.HOOKS)
                refused = native.status()["refused"]
                if (refused or native.unseen()) and everything:
                    # Some classes are out of the hooks' reach: the reference tracer for all, if it is a good one.
                    self.stop()
                    reason = _references_fail(native)
                    self._open(patterns, native.HOOKS if reason else native.REFERENCES)
            else:
                refused, reason = 0, reason or _references_fail(native)
                if reason:
                    raise NativeUnavailable(reason)
                self._open(patterns, native.REFERENCES)
        except RuntimeError as error:
            self.stop()
            raise NativeUnavailable(str(error)) from error
        self.since = time.time()
        self._refused, self._reason = refused if reason else 0, reason

    @property
    def _unseen(self) -> list[str]:
        """Names of the classes written in Python that are out of the hooks' reach; of those made since too."""
        return sorted(self._native.unseen()) if self.running and self.mechanism == "hooks" else []

    @property
    def complete(self) -> bool:
        """Whether all that is named is seen."""
        return not (self._refused or self._unseen)

    @property
    def note(self) -> str:
        """What is named and not seen; empty if that is nothing."""
        parts = []
        if self._refused:
            parts.append(
                f"{self._refused} classes that are named are not written in Python and not seen: {self._reason}"
            )
        if unseen := self._unseen:
            names = ", ".join(unseen[:_UNSEEN_TOLD])
            others = f" and {len(unseen) - _UNSEEN_TOLD} others" if len(unseen) > _UNSEEN_TOLD else ""
            parts.append(f"not seen are {names}{others}: their base makes or frees objects past its subclasses")
        return "; ".join(parts)

    def _open(self, patterns: tuple[str, ...], mechanism: int) -> None:
        native = self._native
        # Not in the server's own thread: its work on the events would make events.
        native.mute(self._host.get_ident() in self._host.own)
        native.start(mechanism, patterns, MAX_FOLLOWED, bool(native.CAN_SITE))
        native.limit(1, self._quota)
        self.running = True
        self.mechanism = "hooks" if mechanism == native.HOOKS else "references"
        self.stride = 1
        self._names, self._packed, self._deltas, self._births = [], [], {}, 0
        self._look_for_classes()

    def _look_for_classes(self) -> None:
        self._looked = self._adapted = time.monotonic()
        for portion in _classes():
            self._native.add(portion)
            # It may hold the last reference to a class by now.
            self._host.release(portion)

    def stop(self) -> None:
        if self.running:
            self.running = False
            self._host.release(self._native.stop())

    def forget(self) -> None:
        """Removes the hooks in a forked child, and hands nothing on to threads that are not there."""
        if self.running:
            self.running = False
            self._native.stop()

    @property
    def followed(self) -> int:
        """The number of objects followed now."""
        return int(self._native.status()["live"]) if self.running else 0

    @property
    def skipped(self) -> int:
        """The number of new objects counted but not followed since the start."""
        return int(self._native.status()["skipped"]) if self.running else 0

    def drain(self, audience: bool) -> list[bytes]:
        """The packed events since the last call; nothing without an audience. Sets the rate anew."""
        if not self.running:
            return []
        now = time.monotonic()
        if made := self._native.newborn():
            self._host.release(made)
        if now >= self._looked + _LOOK_FOR_CLASSES:
            self._look_for_classes()
        self._learn()
        self._adapt(now)
        events: list[bytes] = []
        packed = self._packed
        for _ in range(_MOST_PORTIONS):
            rows = self._native.drain(_AT_A_TIME)
            if not rows:
                break
            self._learn()  # afterwards: their classes may have come just now
            if audience:
                events += [
                    created_event(at, identity, packed[number]) if created else destroyed_event(at, identity)
                    for created, identity, at, number in rows
                ]
        return events

    def _learn(self) -> None:
        """Takes names of new classes, and counts."""
        counts = self._native.counts()
        new = self._native.names(len(self._names))
        self._names += new
        self._packed += map(pack, new)
        for number, born, died in counts:
            delta = self._deltas.setdefault(self._names[number] or "?", [0, 0])
            delta[0] += born
            delta[1] += died
            self._births += born

    def _adapt(self, now: float) -> None:
        elapsed = now - self._adapted
        if elapsed < 0.05:
            return
        wanted = max(1, math.ceil(self._births / elapsed / self._per_second))
        # Up at once, down slowly: a burst shall not be followed whole because a quiet moment came before it.
        self.stride = max(wanted, self.stride // 2)
        self._adapted, self._births = now, 0
        self._native.limit(self.stride, self._quota)

    @property
    def _quota(self) -> int:
        """The number of objects to follow between two looks, which are mostly a tenth of a second apart."""
        return max(100, self._per_second // 5)

    def take_counts(self) -> dict[str, list[int]]:
        """``{class name: [born, died]}`` since the last call, of all instances, followed or not."""
        if self.running:
            self._learn()
        deltas, self._deltas = self._deltas, {}
        return deltas

    @property
    def known(self) -> set[str]:
        """Names of the classes whose births and deaths are counted."""
        if self.running:
            self._learn()
        return {name for name in self._names if name is not None}

    def sites(self) -> list[tuple[str, str, int, int]]:
        """Places where living followed objects were made: class, file, line, number; most first."""
        if not self.running:
            return []
        rows = self._native.sites()
        self._learn()  # afterwards: their classes may have come just now
        summed: dict[tuple[str, str, int], int] = {}
        for number, code, offset, _, alive in nlargest(SITES_TOLD * 2, rows, key=lambda row: row[4]):
            if alive:
                place = (self._names[number] or "?", code.co_filename, code_line(code, offset))
                summed[place] = summed.get(place, 0) + alive
        return [(*place, alive) for place, alive in nlargest(SITES_TOLD, summed.items(), key=lambda item: item[1])]
