"""Sessions that this process carries: counted from before the 101 until the socket is given back."""

from __future__ import annotations

import os
import threading

__all__ = ["count", "release", "reserve"]

_held: set[object] = set()
_lock = threading.Lock()  # servers with a thread a request ask at the same time


def reserve(holder: object, most: int) -> bool:
    """Counts a session, unless there are ``most`` already; :func:`release` gives its place back."""
    with _lock:
        if len(_held) >= most:
            return False
        _held.add(holder)
        return True


def release(holder: object) -> None:
    """Gives a session's place back."""
    _held.discard(holder)


def count() -> int:
    """The number of sessions now; from any thread."""
    return len(_held)


def _after_fork_in_child() -> None:
    # Sessions from before the fork are the parent's, and another thread of the parent may have held the lock.
    global _held, _lock
    _held = set()
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
