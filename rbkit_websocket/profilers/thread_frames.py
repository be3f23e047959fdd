"""Frames of this interpreter's threads, whatever other interpreters the process has.

``sys._current_frames()`` looks at the threads of all interpreters. From Python 3.12 on an interpreter may have a lock
of its own; its threads run during that look, which then ends the process. So the extension looks at our own
interpreter's threads alone. Without it ``sys._current_frames()`` is called only while there is no other interpreter;
with others the frames are unknown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain, starmap
from types import FrameType
from typing import Any

from ..native.loader import NativeUnavailable, extension
from ..system.unpatched import original

__all__ = ["current_frames", "unseen"]

FramesByThread = dict[int, FrameType]


def current_frames() -> FramesByThread | None:
    """The innermost frame of each other thread, by the thread's identity; None where no look is safe."""
    frames, _ = _ways()
    found = frames()
    if found is not None:
        # Our own frame leads back to the caller's variable with this dictionary: a cycle, which would keep the
        # application's frames, and all values of their variables, until the next collection.
        found.pop(_own(), None)
    return found


def unseen() -> str | None:
    """The part of the process that cannot be seen, for people; None where there is only this interpreter."""
    frames, alone = _ways()
    if alone():
        return None
    others = "there are other interpreters in this process, whose threads are not seen"
    if frames() is None:
        return f"{others}; nor are those of this one, for which the C extension is needed meanwhile"
    return others


def _own() -> int:
    return int(original("_thread", "get_ident")())


@cache
def _ways() -> tuple[Callable[[], FramesByThread | None], Callable[[], bool]]:
    """Two functions: one gives frames, the other tells whether this interpreter is the only one."""
    try:
        native = extension("_native")
    except NativeUnavailable:
        pass
    else:
        return native.frames, native.alone
    if sys.implementation.name != "cpython" or sys.hexversion < 0x030C0000:
        return sys._current_frames, lambda: True
    try:
        import ctypes  # once, for two functions; libffi may keep a descriptor of itself from then on

        head, main = ctypes.pythonapi.PyInterpreterState_Head, ctypes.pythonapi.PyInterpreterState_Main
    except (ImportError, AttributeError):
        return lambda: None, lambda: False
    head.restype = main.restype = ctypes.c_void_p
    return _guarded(head, main())


def _guarded(head: Any, main: int) -> tuple[Callable[[], FramesByThread | None], Callable[[], bool]]:
    """Both by ``head()``, the youngest interpreter of the process; ``main`` is its first one."""

    def frames() -> FramesByThread | None:
        # As one call of C code, so that no thread makes an interpreter between the question and the look: the first
        # iterator ends at once where there is no other interpreter, and only then the second begins.
        look: Iterator[Any] = chain(iter(head, main), starmap(sys._current_frames, ((),)))
        found = next(look)
        return found if isinstance(found, dict) else None

    return frames, lambda: head() == main
