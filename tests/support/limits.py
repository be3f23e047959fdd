"""Descriptors and threads of another process, as few as a test wants."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


def open_descriptors(pid: int) -> set[int]:
    """Numbers of the descriptors that a process has open."""
    return {int(name) for name in os.listdir(f"/proc/{pid}/fd")}


@contextmanager
def descriptors_left(pid: int, count: int) -> Iterator[None]:
    """Lets a process open ``count`` more descriptors, and as many as it likes afterwards."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used, number = open_descriptors(pid), 0
    while count or number in used:
        count -= number not in used
        number += 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
