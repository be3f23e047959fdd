"""Waiting for a condition, never for a time: one factor stretches every deadline on slow machines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT_FACTOR = float(os.environ.get("RBKIT_TEST_TIMEOUT_FACTOR", "1"))


def scaled(seconds: float) -> float:
    """``seconds`` on a machine of the usual speed."""
    return seconds * TIMEOUT_FACTOR


def wait_until(condition: Callable[[], T], what: str, timeout: float = 5.0, every: float = 0.003) -> T:
    """Polls ``condition`` until it is true and returns its value; fails with ``what`` after ``timeout`` seconds."""
    deadline = time.monotonic() + scaled(timeout)
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {scaled(timeout):g} s in vain for {what}; last seen: {value!r}")
        time.sleep(every)
