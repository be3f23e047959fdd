"""Lists greenlets. The one module of the profilers that knows greenlet and gevent, both only if loaded."""

from __future__ import annotations

import gc
import sys
import weakref
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

from ...system.clock import time
from ...system.loaded import loaded
from ..base import Host
from ..thread_frames import current_frames

__all__ = ["EventLoop", "GreenletRegistry", "begun", "find_greenlets", "hub_thread", "is_gevents", "is_hub", "runs"]

# Looking through the heap may take this share of the time between two looks.
_SHARE: Final = 0.01
# A second list of greenlets within this time needs no scan, however small the heap.
_LEAST_PAUSE: Final = 1.0


def _greenlet_types() -> set[int]:
    """Identities of ``greenlet.greenlet`` and all classes made of it; empty when greenlet is not loaded."""
    module = loaded("greenlet")
    root = getattr(module, "greenlet", None)
    if root is None:
        return set()
    found: set[int] = set()
    waiting = [root]
    while waiting:
        cls = waiting.pop()
        if id(cls) not in found:
            found.add(id(cls))
            waiting.extend(type.__subclasses__(cls))
    return found


def find_greenlets(host: Host) -> list[Any]:
    """All living greenlets. Scans the collector's objects: about 20 ms per million."""
    types = _greenlet_types()
    if not types:
        return []
    everything = gc.get_objects()
    try:
        # type(), not isinstance(): that would run the __class__ property of every proxy in the heap.
        return [obj for obj in everything if id(type(obj)) in types and not obj.dead]
    finally:
        if host.behind():
            # The loop is blocked, so hardly anything can have died meanwhile; another list must not pile up.
            everything.clear()
        else:
            host.release(everything)


def is_hub(greenlet: Any) -> bool:
    """Whether a greenlet is a gevent hub, the one that runs its thread's event loop."""
    hub = getattr(loaded("gevent.hub"), "Hub", None)
    return hub is not None and issubclass(type(greenlet), hub)


def is_gevents(greenlet: Any) -> bool:
    """Whether it is a ``gevent.Greenlet``."""
    cls = getattr(loaded("gevent"), "Greenlet", None)
    return cls is not None and issubclass(type(greenlet), cls)


def begun(greenlet: Any) -> bool:
    """Whether it runs or has been switched away from. gevent's own truth value is true of scheduled greenlets too."""
    return bool(sys.modules["greenlet"].greenlet.__bool__(greenlet))


def runs(greenlet: Any, thread: int | None) -> bool:
    """Whether a greenlet is the one that its thread runs.

    A greenlet that has begun and has no frame runs, unless its own function is compiled (``gevent.spawn(event.wait)``):
    such a greenlet has no frame where it waits either. It runs while its thread has no frame; its calls into Python
    cannot be told from another greenlet's.
    """
    if greenlet.gr_frame is not None or greenlet.dead or not begun(greenlet):
        return False
    return not _is_compiled(greenlet) or (current_frames() or {}).get(thread or 0) is None


def _is_compiled(greenlet: Any) -> bool:
    function: Any = greenlet._run if is_gevents(greenlet) else None
    while type(function) in (MethodType, partial):
        function = function.__func__ if type(function) is MethodType else function.func
    kind = type(function)
    if function is None or kind is FunctionType or issubclass(kind, type):
        return False
    # Looked for as the interpreter does, which asks no __getattr__.
    call = next((vars(cls)["__call__"] for cls in type.mro(kind) if "__call__" in vars(cls)), None)
    return type(call) is not FunctionType


def hub_thread(greenlet: Any) -> int | None:
    """The native thread that a greenlet belongs to, as its hub or thread pool worker knows it; None when neither is
    among its parents."""
    worker = getattr(loaded("gevent.threadpool"), "_WorkerGreenlet", None)
    for _ in range(100):
        if greenlet is None:
            return None
        if is_hub(greenlet):
            ident = greenlet.thread_ident
            return ident if type(ident) is int else None
        if worker is not None and type(greenlet) is worker:
            return greenlet._thread_ident or None
        greenlet = greenlet.parent
    return None


class _Reference(weakref.ref):  # type: ignore[type-arg]
    """Compared by its own identity: a greenlet's class may have any idea of equality, or none of hashing."""

    __slots__ = ("since",)
    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__

    since: float | None
    """Monotonic time at which the greenlet was spawned; None when that is not known."""


class GreenletRegistry:
    """Knows the living greenlets without a scan of the heap each time: weak references and times of spawning.

    gevent tells of every ``Greenlet`` that is started (``Greenlet.add_spawn_callback``) while this is installed. Older
    greenlets and raw ones are found by a scan: with the first list, and again with a later list as long as scans take
    at most one per cent of the time, so in a big heap a new raw greenlet may be missing for some seconds.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        # A greenlet's end removes its reference, by a function in C that changes nothing else.
        self._known: set[_Reference] = set()
        self._scan_after = 0.0
        self._installed: Any = None

    def install(self) -> None:
        """Asks gevent to tell; called in a thread of the application, and does nothing without gevent."""
        cls = getattr(loaded("gevent"), "Greenlet", None)
        if self._installed is None and cls is not None:
            known = self._known
            keep, forget, clock = known.add, known.discard, time.monotonic

            def spawned(greenlet: Any) -> None:
                reference = _Reference(greenlet, forget)
                reference.since = clock()
                keep(reference)

            cls.add_spawn_callback(spawned)
            self._installed = (cls, spawned)

    def remove(self) -> None:
        """Asks gevent to tell no more. References that go leave no call behind."""
        installed, self._installed = self._installed, None
        if installed is not None:
            cls, spawned = installed
            cls.remove_spawn_callback(spawned)
        self._known.clear()
        self._scan_after = 0.0

    def living(self, *, scan: bool = True) -> list[tuple[Any, float | None]]:
        """Each living greenlet and the monotonic time at which it was spawned, None when that is not known.

        With ``scan=False`` the heap is scanned the first time only: raw greenlets made since are missing.
        The list may hold the last reference to some of them: give it to :meth:`release`.
        """
        if loaded("greenlet") is None:
            return []
        now = time.monotonic()
        # A blocked loop makes no greenlets, and does not release what a scan leaves.
        due = now >= self._scan_after if scan else not self._scan_after
        if due and not (self._known and self._host.behind()):
            self._scan()
            self._scan_after = now + max((time.monotonic() - now) / _SHARE, _LEAST_PAUSE)
        # The copy is made in one go, so no thread changes it meanwhile.
        return [(obj, ref.since) for ref in list(self._known) if (obj := ref()) is not None and not obj.dead]

    def _scan(self) -> None:
        found = find_greenlets(self._host)
        known = {id(ref()) for ref in list(self._known)}
        for greenlet in found:
            if id(greenlet) not in known:
                reference = _Reference(greenlet, self._known.discard)
                reference.since = None
                self._known.add(reference)
        self.release(found)

    def running_in(self, thread: int | None) -> object:
        """The greenlet that a thread runs, as a value that stands for it alone; None for an unknown one."""
        for reference in list(self._known):
            greenlet = reference()
            if greenlet is not None and runs(greenlet, thread):
                found = hub_thread(greenlet) == thread and not is_hub(greenlet)
                self.release([greenlet])
                if found:
                    return reference
        return None

    def release(self, listed: list[Any]) -> None:
        """Empties a list of greenlets where their finalizers may run."""
        if self._host.behind():
            listed.clear()
        else:
            self._host.release(listed)

    def count(self) -> int | None:
        """The number of living greenlets; None when greenlet is not loaded."""
        if loaded("greenlet") is None:
            return None
        listed = self.living()
        number = len(listed)
        self.release(listed)
        return number


class EventLoop:
    """Numbers of a hub's loop that another thread may read without any effect on the loop.

    Args:
        loop: the hub's; None when it has been destroyed.
        thread: the identity of its thread.
        serves: whether the loop surely turns; else it counts as turning once it has been seen to turn.
    """

    def __init__(self, loop: Any, thread: int | None, serves: bool = False) -> None:
        self._loop = loop
        self.thread = thread
        self.serves = serves
        self._wait = getattr(getattr(loaded("gevent.hub"), "Hub", None), "run", None)

    @classmethod
    def gone(cls) -> EventLoop:
        """A stand-in for a loop that has been destroyed."""
        return cls(None, None)

    def turn(self) -> tuple[int, float]:
        """The number of the loop's present turn, and the seconds since it began.

        Raises:
            ValueError: the loop has been destroyed.
        """
        # The loop asks the clock whenever it has waited for something to happen.
        return self._loop.iteration, time.time() - self._loop.now()

    def is_idle(self, frame: Any) -> bool:
        """Whether a stack with this innermost frame is the loop's own: it waits, or is between two greenlets."""
        return frame.f_code is getattr(self._wait, "__code__", None)
