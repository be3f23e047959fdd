"""Which greenlets there are. The one module of the profilers that knows greenlet and gevent, both only if loaded."""

from __future__ import annotations

import gc
import sys
import time
from typing import Any, Final

from .base import Host

__all__ = ["GreenletCounter", "begun", "find_greenlets", "hub_thread", "is_gevents", "is_hub"]

# Counting may take this share of the time between two counts.
_SHARE: Final = 0.01


def _greenlet_types() -> set[int]:
    """Identities of ``greenlet.greenlet`` and all classes made of it; empty when greenlet is not loaded."""
    module = sys.modules.get("greenlet")
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
    hub = getattr(sys.modules.get("gevent.hub"), "Hub", None)
    return hub is not None and issubclass(type(greenlet), hub)


def is_gevents(greenlet: Any) -> bool:
    """Whether it is a ``gevent.Greenlet``."""
    cls = getattr(sys.modules.get("gevent"), "Greenlet", None)
    return cls is not None and issubclass(type(greenlet), cls)


def begun(greenlet: Any) -> bool:
    """Whether it runs or has been switched away from. gevent's own truth value counts those that are only scheduled."""
    return bool(sys.modules["greenlet"].greenlet.__bool__(greenlet))


def hub_thread(greenlet: Any) -> int | None:
    """The native thread that a greenlet belongs to, as its hub or thread pool worker knows it; None when neither is
    among its parents."""
    worker = getattr(sys.modules.get("gevent.threadpool"), "_WorkerGreenlet", None)
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


class GreenletCounter:
    """Counts greenlets, in a big heap less often than asked: a count costs at most one per cent of the time."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._counted: int | None = None
        self._not_before = 0.0

    def count(self) -> int | None:
        """The number of living greenlets as of the last count; None when greenlet is not loaded."""
        if "greenlet" not in sys.modules:
            return None
        now = time.monotonic()
        if now >= self._not_before and not self._host.behind():
            self._counted = len(find_greenlets(self._host))
            self._not_before = now + (time.monotonic() - now) / _SHARE
        return self._counted
