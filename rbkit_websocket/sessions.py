"""The sessions that this process carries: counted from before the 101 until the socket is given back."""

from __future__ import annotations

import os

__all__ = ["count", "release", "reserve"]

_held: set[object] = set()
_pid = os.getpid()


def reserve(holder: object, most: int) -> bool:
    """Counts one more, unless there are ``most`` already; :func:`release` gives its place back."""
    global _pid
    if _pid != os.getpid():  # the sessions of before a fork are the parent's
        _held.clear()
        _pid = os.getpid()
    if len(_held) >= most:
        return False
    _held.add(holder)
    return True


def release(holder: object) -> None:
    """Counts one less."""
    _held.discard(holder)


def count() -> int:
    """How many there are now; from any thread."""
    return len(_held) if _pid == os.getpid() else 0
