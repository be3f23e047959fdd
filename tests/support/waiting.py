"""Waiting for a condition, never for a time: one factor stretches every deadline on slow machines and on busy ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT_FACTOR = float(os.environ.get("RBKIT_TEST_TIMEOUT_FACTOR", "1"))


def scaled(seconds: float) -> float:
    """What ``seconds`` on an idle machine of the usual speed may take on this one now, as busy as it is.

    Call it once for a limit and a time that are held against each other: the next answer may be another.
    """
    # Ten at the most: a test that waits for what will not come has to end too.
    return seconds * max(TIMEOUT_FACTOR, min(10.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1)))


def wait_until(condition: Callable[[], T], what: str, timeout: float = 5.0, every: float = 0.003) -> T:
    """Polls ``condition`` until it is true and returns its value; fails with ``what`` after ``timeout`` seconds."""
    begin = time.monotonic()
    while True:
        if value := condition():
            return value
        # Asked for anew each time: the machine may have become busy meanwhile.
        if (waited := time.monotonic() - begin) > scaled(timeout):
            raise AssertionError(f"waited {waited:.1f} s in vain for {what}; last seen: {value!r}")
        time.sleep(every)
