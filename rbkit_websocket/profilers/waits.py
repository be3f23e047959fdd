"""Where requests wait: samples of parked greenlets, which the CPU sampler cannot see.

``wait_profile on`` and ``wait_profile off`` answer ``{"wanted": bool, "active": bool}``: whether this client wants it,
and whether it is done, for anybody, since the sampler runs. Then each parked greenlet of a request is sampled as well:
as the thread of its event loop, with the request's name, weighing the time since the last such look. ``cpu_profile``
has them as stacks with ``waiting``; they are not published. Looks are a tenth of a second apart, or further if they
would take more than two per cent of the time.
"""

from __future__ import annotations

from typing import Any, Final

from ..clock import time
from .cpu import Sample, walk
from .greenlets import GreenletRegistry, hub_thread

__all__ = ["WaitSampler"]

_PERIOD: Final = 0.1
_SHARE: Final = 0.02
# A loop that has been blocked for long is not a wait of each of its greenlets.
_MAX_WEIGHT: Final = 5.0


class WaitSampler:
    """Samples parked greenlets of requests. All methods are called by the server's thread.

    Attributes:
        wanted: whether anybody wants it.
    """

    def __init__(self, registry: GreenletRegistry) -> None:
        self._registry = registry
        self._last: float | None = None
        self._next = 0.0
        self.wanted = False

    def take(self, running: bool) -> list[Sample]:
        """Samples, if it is time for them.

        Args:
            running: whether the sampler runs.
        """
        now = time.monotonic()
        if not (running and self.wanted):
            self._last = None
            return []
        if now < self._next:
            return []
        last, self._last = self._last, now
        samples = self._look(min(now - last, _MAX_WEIGHT)) if last is not None else []
        self._next = now + max(_PERIOD, (time.monotonic() - now) / _SHARE)
        return samples

    def _look(self, elapsed: float) -> list[Sample]:
        found: list[tuple[int, Any, Any]] = []
        listed = self._registry.living()
        for greenlet, _ in listed:
            frame = greenlet.gr_frame
            if frame is None:
                continue
            stack, request = walk(frame)
            if request is not None:
                found.append((hub_thread(greenlet) or 0, stack, request))
        self._registry.release(listed)
        stamp, wall = time.time() * 1000, elapsed * 1e6
        return [Sample(stamp, thread, stack, wall, 0.0, len(found), request, True) for thread, stack, request in found]
