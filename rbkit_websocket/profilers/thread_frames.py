"""Frames of this interpreter's threads, whatever other interpreters the process has.

``sys._current_frames()`` looks at the threads of all interpreters, which can end the process (``interpreters.py``). So
the extension looks at our own interpreter's threads alone. Without it ``sys._current_frames()`` is called only while
there is no other interpreter; with others the frames are unknown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import FrameType

from ..native.loader import NativeUnavailable, extension
from ..system.unpatched import original
from .interpreters import alone, undisturbed

__all__ = ["current_frames", "unseen"]

FramesByThread = dict[int, FrameType]


def current_frames() -> FramesByThread | None:
    """The innermost frame of each other thread, by the thread's identity; None where no look is safe."""
    found = _way()()
    if found is not None:
        # Our own frame leads back to the caller's variable with this dictionary: a cycle, which would keep the
        # application's frames, and all values of their variables, until the next collection.
        found.pop(_own(), None)
    return found


def unseen() -> str | None:
    """The part of the process that cannot be seen, for people; None where there is only this interpreter."""
    if alone():
        return None
    others = "there are other interpreters in this process, whose threads are not seen"
    if _way()() is None:
        return f"{others}; nor are those of this one, for which the C extension is needed meanwhile"
    return others


def _own() -> int:
    return int(original("_thread", "get_ident")())


@cache
def _way() -> Callable[[], FramesByThread | None]:
    try:
        native: Callable[[], FramesByThread] = extension("_native").frames
    except NativeUnavailable:
        return lambda: undisturbed(sys._current_frames)
    return native
