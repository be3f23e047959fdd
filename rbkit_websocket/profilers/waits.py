"""Where requests wait: samples of parked greenlets, which the CPU sampler cannot see.

``wait_profile on`` and ``wait_profile off`` answer ``{"wanted": bool, "active": bool}``. While it is on and the sampler
runs on the wall clock (``active``), each parked greenlet of a request is sampled as well: as the thread of its event
loop, with the request's name, weighing the time since the last such look. They join the other samples, so
``cpu_profile`` and published samples have them; under gevent the weight of one thread then exceeds the time that has
passed, since many requests wait at once. Looks are a tenth of a second apart, or further if they would take more than
two per cent of the time.
"""

from __future__ import annotations

import random
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
        wanted: whether it is switched on.
    """

    def __init__(self, registry: GreenletRegistry | None = None) -> None:
        self._registry = registry
        self._last: float | None = None
        self._next = 0.0
        self.wanted = False
        self.active = False
        # Not the module's own: the application may have seeded that.
        self._random = random.Random()  # noqa: S311 - an order, not a secret

    def state(self) -> dict[str, bool]:
        """The answer of ``wait_profile``."""
        return {"wanted": self.wanted, "active": self.wanted and self.active}

    def take(self, wall: bool) -> list[Sample]:
        """Samples, if it is time for them.

        Args:
            wall: whether the sampler runs, on the wall clock.
        """
        self.active = wall
        now = time.monotonic()
        if not (wall and self.wanted) or self._registry is None:
            self._last = None
            return []
        if now < self._next:
            return []
        last, self._last = self._last, now
        samples = self._look(min(now - last, _MAX_WEIGHT)) if last is not None else []
        self._next = now + max(_PERIOD, (time.monotonic() - now) / _SHARE)
        return samples

    def _look(self, elapsed: float) -> list[Sample]:
        assert self._registry is not None
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
        # Published samples are thinned in their order, which must not favour the same ones each time.
        self._random.shuffle(found)
        stamp = time.time() * 1000
        return [Sample(stamp, thread, stack, elapsed * 1e6, len(found), request) for thread, stack, request in found]
