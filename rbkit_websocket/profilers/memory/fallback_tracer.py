"""Objects created and destroyed, without the extension module, as far as pure Python can tell.

When a collection starts, the youngest generation is looked at, and each object in it that takes a weak reference is
followed: ``obj_created`` then, ``obj_destroyed`` when the reference breaks. So

- seen are: instances of classes written in Python (without ``__slots__``, or with ``__weakref__`` in them), functions,
  classes, generators, sets, and other objects that take weak references;
- not seen are: dict, list, tuple, str, bytes, int and their like, which take none; objects that die before the next
  collection starts (most do, by reference counting), and objects made before profiling began;
- ``obj_created`` comes at the next collection, not at once;
- objects beyond the budget are not followed, but counted (``objects_skipped`` of gc_stats): two per cent of the time,
  the ends of objects and the making of events included, and 100,000 objects followed at once. Events are a sample then.

Following an object does not keep it alive. Patterns of ``trace_objects`` say which classes are followed.
"""

from __future__ import annotations

import gc
import weakref
from collections import deque
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, Final

from ...protocol.constants import EventType, Field
from ...protocol.packing import event
from ...system.clock import time
from ..base import Host, Profiler, class_name, module_name

__all__ = ["Followed", "ObjectWatch"]

MAX_FOLLOWED: Final = 100_000
BUDGET: Final = 0.02
# One look may not take longer than this, however much budget is left: it stops the application.
_MAX_LOOK: Final = 0.01
_MAX_WAITING: Final = 100_000
_BETWEEN_CLOCKS: Final = 64
# Seconds for the end of a followed object: the callback and later the event. Too many to ask the clock for each.
_END_COSTS: Final = 3e-6

_weakrefoffset = type.__dict__["__weakrefoffset__"].__get__


class Followed(weakref.ref):  # type: ignore[type-arg]
    """A weak reference that knows the identity its object had."""

    __slots__ = ("identity",)
    identity: int


class ObjectWatch(Profiler):
    """Follows young objects. Collections and dying objects call it from whichever thread they happen in."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.patterns: tuple[str, ...] = ()
        self._waiting: deque[tuple[int, float, str | None, bool]] = deque(maxlen=_MAX_WAITING)
        self._followed: dict[int, Followed] = {}
        self._names: dict[int, tuple[type, str | None, bool]] = {}
        self._saved = 0.0
        self._filled = 0.0
        # Each is written in one place and read by the callback, which takes the increase since.
        self._ends = self._ends_paid = 0
        self._drained = self._drained_paid = 0.0
        self.skipped = 0

    @property
    def followed(self) -> int:
        """The number of objects followed now."""
        return len(self._followed)

    def start(self) -> None:
        if not self.running:
            self._waiting.clear()
            self._saved, self._filled, self.skipped = _MAX_LOOK, time.perf_counter(), 0
            self.running = True
            # Before all others, so that this cost is not taken for the collection's own time.
            gc.callbacks.insert(0, self._callback)

    def stop(self) -> None:
        if self.running:
            self.running = False
            if self._callback in gc.callbacks:
                gc.callbacks.remove(self._callback)
            # Without its reference an object is not followed: its end is not seen.
            self._followed = {}
            self._names = {}

    def drain(self, audience: bool) -> Iterable[bytes]:
        began = time.thread_time()
        events = []
        while self._waiting:
            identity, seconds, name, created = self._waiting.popleft()
            if not audience:
                continue
            payload: dict[int, Any] = {int(Field.OBJECT_ID): identity}
            if created:
                payload[int(Field.CLASS_NAME)] = name
            kind = EventType.OBJ_CREATED if created else EventType.OBJ_DESTROYED
            events.append(event(kind, seconds * 1000, payload))
        self._drained += time.thread_time() - began
        return events

    def _callback(self, phase: str, info: dict[str, int]) -> None:
        if phase != "start":
            return
        began = time.perf_counter()
        self._saved = min(_MAX_LOOK, self._saved + (began - self._filled) * BUDGET - self._spent_elsewhere())
        self._filled = began
        if self._saved <= 0:
            self.skipped += gc.get_count()[0]
            return
        if info.get("generation") == 2:
            self._names.clear()  # or classes made on the fly would live for as long as we run
        self._look(gc.get_objects(generation=0), began + self._saved)
        self._saved -= time.perf_counter() - began

    def _spent_elsewhere(self) -> float:
        """Seconds that ends and events have taken since the last call."""
        ends, drained = self._ends, self._drained
        spent = (ends - self._ends_paid) * _END_COSTS + drained - self._drained_paid
        self._ends_paid, self._drained_paid = ends, drained
        return spent

    def _look(self, young: list[Any], until: float) -> None:
        now = time.time()
        names, followed = self._names, self._followed
        for number, obj in enumerate(young):
            if not number % _BETWEEN_CLOCKS and (time.perf_counter() > until or len(followed) >= MAX_FOLLOWED):
                self.skipped += len(young) - number
                return
            cls = type(obj)
            known = names.get(id(cls))
            if known is None:
                name = class_name(cls)
                follow = _weakrefoffset(cls) != 0 and cls is not Followed and self._named(cls, name)
                known = names[id(cls)] = (cls, name, follow)
            if not known[2] or id(obj) in followed:
                continue
            try:
                reference = Followed(obj, self._ended)
            except TypeError:  # a class may refuse
                continue
            reference.identity = id(obj)
            followed[id(obj)] = reference
            self._waiting.append((id(obj), now, known[1], True))

    def _named(self, cls: type, name: str | None) -> bool:
        texts = (name or "", module_name(cls))
        return not self.patterns or any(fnmatchcase(text, pattern) for text in texts for pattern in self.patterns)

    def _ended(self, reference: Followed) -> None:
        # Called while the object is being freed: nothing here can fail.
        if self._followed.pop(reference.identity, None) is not None:
            self._waiting.append((reference.identity, time.time(), None, False))
            self._ends += 1
