"""Waits of requests: the time of parked greenlets, which the CPU sampler cannot see.

While any client wants them, ``cpu_profile`` has waits as stacks with ``waiting``, of the event loop's thread and with
the request's name; they are not published.

With the extension module the time is measured: from the switch away from a request's greenlet until it goes on, and
for a greenlet that waits still the time so far. So a wait weighs its true duration, however short it was and however
late a client asks. greenlet reports each switch (``greenlet.settrace``; an earlier trace function is called as well),
which costs some microseconds a switch.

Without it each parked greenlet is looked at every tenth of a second, or less often if that would take more than two
per cent of the time. A look weighs the time since the last one, and no more than the request has taken so far. Shorter
waits are mostly missed, and the end of each wait.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from ...native.loader import NativeUnavailable, extension
from ...system.clock import time
from ..base import Host
from ..cpu.fold import Entry
from ..cpu.sampler import Sample, walk
from .registry import GreenletRegistry, hub_thread

__all__ = ["WaitSampler"]

_PERIOD: Final = 0.1
_SHARE: Final = 0.02


class WaitSampler:
    """Waits of greenlets of requests. All methods are called by the server's thread.

    Attributes:
        wanted: whether any client wants waits.
    """

    def __init__(self, host: Host, registry: GreenletRegistry) -> None:
        self._host = host
        self._registry = registry
        self._last: float | None = None
        self._next = 0.0
        self._measuring = False
        self._adopted = False
        self.wanted = False
        self._native: Any = None
        try:
            self._native = extension("_native")
        except NativeUnavailable:
            pass

    @property
    def polls(self) -> bool:
        """Whether it has to look at regular times."""
        return self.wanted and not self._measuring

    def take(self, running: bool) -> tuple[list[Sample], Sequence[Entry], int]:
        """Samples, if a look is due; measured waits; and microseconds that were lost.

        Args:
            running: whether the CPU sampler runs.
        """
        wanted = running and self.wanted
        if wanted and not self._measuring:
            self._begin()
        elif self._measuring and not wanted:
            return self._end()
        if self._measuring:
            return self._measured()
        return (self._looked() if wanted else self._rest()), (), 0

    def forget(self) -> None:
        """Forgets the waits in a forked child; the extension module has forgotten by itself."""
        self._measuring = self._adopted = False

    # -- measured

    def _begin(self) -> None:
        native, greenlet = self._native, sys.modules.get("greenlet")
        if native is None or greenlet is None:
            return

        def begin() -> None:
            if self._measuring:
                native.waits_start(greenlet.gettrace, greenlet.settrace)

        self._measuring = True  # before it is called, which may be at once
        self._adopted = False
        self._measuring = self._host.call(begin)

    def _measured(self) -> tuple[list[Sample], Sequence[Entry], int]:
        if not self._adopted and self._native.waits_on():
            self._adopted = True
            listed = self._registry.living(scan=False)
            self._native.waits_adopt([greenlet for greenlet, _ in listed])
            self._registry.release(listed)
        totals, lost = self._native.waits_drain()
        return [], totals, lost

    def _end(self) -> tuple[list[Sample], Sequence[Entry], int]:
        native, greenlet = self._native, sys.modules["greenlet"]
        measured = self._measured()
        self._measuring = False
        native.waits_stop()
        self._host.call(lambda: native.waits_end(greenlet.gettrace, greenlet.settrace))
        return measured

    # -- looked at

    def _rest(self) -> list[Sample]:
        self._last = None
        return []

    def _looked(self) -> list[Sample]:
        now = time.monotonic()
        if now < self._next:
            return []
        last, self._last = self._last, now
        listed = self._registry.living()  # may scan the heap, within its own share of the time
        began = time.monotonic()
        samples = self._look(listed, now, now - last) if last is not None else []
        self._registry.release(listed)
        ended = time.monotonic()
        self._next = ended + max(_PERIOD - (ended - now), (ended - began) / _SHARE)
        return samples

    @staticmethod
    def _look(listed: list[tuple[Any, float | None]], now: float, elapsed: float) -> list[Sample]:
        found: list[tuple[int, Any, Any, float]] = []
        for greenlet, since in listed:
            frame = greenlet.gr_frame
            if frame is None:
                continue
            stack, request = walk(frame)
            if request is not None:
                begun = [began for began in (since, request.began) if began is not None]
                waited = min(elapsed, *(max(0.0, now - began) for began in begun)) if begun else elapsed
                found.append((hub_thread(greenlet) or 0, stack, request, waited * 1e6))
        stamp = time.time() * 1000
        return [
            Sample(stamp, thread, stack, wall, 0.0, len(found), request, True) for thread, stack, request, wall in found
        ]
