"""Which frames the threads of this interpreter run, whatever other interpreters the process has.

``sys._current_frames()`` looks at the threads of all of them. From Python 3.12 on an interpreter may have a lock of its
own; its threads run during that look, which then ends the process. So the extension looks at our own interpreter's
threads alone. Without it ``sys._current_frames()`` is called only while there is no other interpreter; else it cannot
be told what threads run.
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
    """The innermost frame of each other thread, by the thread's identity; None where that cannot be had safely."""
    frames, _ = _ways()
    found = frames()
    if found is not None:
        # Our own leads back to the variable that a caller puts this in: a circle, which would keep the application's
        # frames, and all that their variables hold, until the next collection.
        found.pop(_own(), None)
    return found


def unseen() -> str | None:
    """What of the process cannot be seen, for people; None where there is but this interpreter."""
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
    """How frames are had, and how it is asked whether this interpreter is the only one."""
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
        # As one call of C code, so that nobody makes an interpreter between the question and the look: the first
        # iterator ends at once where there is no other one, and only then the second is begun.
        look: Iterator[Any] = chain(iter(head, main), starmap(sys._current_frames, ((),)))
        found = next(look)
        return found if isinstance(found, dict) else None

    return frames, lambda: head() == main
