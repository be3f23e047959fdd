"""Costs of watching: figures that only rise, so that any number of clients take the difference of two answers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from ...protocol.commands.cpu import WatchingCost
from ...system.clock import time
from ..base import PACKAGE
from ..requests.tracker import REQUESTS
from .fold import AnyStack

__all__ = ["Watching"]

_DEMO: Final = os.path.join(PACKAGE, "cli") + os.sep  # an application like any other
_MAX_KNOWN: Final = 20_000


class Watching:
    """Counts CPU time of watching in the application's threads. Used by the server's thread."""

    def __init__(self) -> None:
        self._since = time.time() * 1000
        self._known: dict[AnyStack, bool] = {}
        self._sampled = 0

    def add(self, sampled: Iterable[tuple[AnyStack, int]]) -> None:
        """Samples: stack and microseconds of CPU time."""
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
        known = self._known
        for stack, cpu in sampled:
            if cpu:
                ours = known.get(stack)
                if ours is None:
                    ours = known[stack] = _is_ours(stack)
                if ours:
                    self._sampled += cpu

    def figures(self, sampler: tuple[int, int]) -> WatchingCost:
        """The part ``watching`` of the answer ``cpu_profile``; called in the server's thread, whose clock it reads.

        Args:
            sampler: microseconds used by the sampler's threads, and by its looks in the application's threads.
        """
        return {
            "since": self._since,
            "until": time.time() * 1000,
            "server_us": round(time.thread_time() * 1e6),
            "sampler_us": sampler[0],
            "application_us": sampler[1] + self._sampled,
        }


def _is_ours(stack: AnyStack) -> bool:
    """Whether a session, a page or a callback of ours is on the stack: more than the middleware that calls a view."""
    for code in stack.codes:
        file = code.co_filename
        if not REQUESTS.is_passage(code) and file.startswith(PACKAGE) and not file.startswith(_DEMO):
            return True
    return False
