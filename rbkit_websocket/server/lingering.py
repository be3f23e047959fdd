"""The time that profilers started by a command go on without an audience."""

from __future__ import annotations

from typing import Final

from ..system.clock import time

__all__ = ["Lingering"]


class Lingering:
    """The time since a client last wanted profiling, for all profilers.

    Args:
        seconds: the time that profilers go on after that.

    Attributes:
        last_sign: monotonic.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds: Final = seconds
        self.last_sign = 0.0

    def sign_of_life(self) -> None:
        """Begins the time anew: a client wants profiling, or has wanted it until now."""
        self.last_sign = time.monotonic()

    def is_over(self, now: float) -> bool:
        """Whether the time has passed."""
        return now >= self.last_sign + self.seconds
