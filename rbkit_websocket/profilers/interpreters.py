"""Other interpreters of this process, and looks that are safe only without them.

From Python 3.12 on an interpreter may have a lock of its own. Functions that look at all interpreters of the process,
as ``sys._current_frames()`` and ``sys.getallocatedblocks()``, then look at what changes meanwhile, which can end the
process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from itertools import chain, repeat, starmap
from typing import Any, TypeVar

from ..native.loader import NativeUnavailable, extension

__all__ = ["alone", "undisturbed"]

_Found = TypeVar("_Found")


def alone() -> bool:
    """Whether this interpreter is the only one, or shares its lock with all others."""
    question, answer = _question()
    return bool(question() == answer)


def undisturbed(look: Callable[[], _Found]) -> _Found | None:
    """The result of a look at all interpreters; None where one of them could change meanwhile.

    Args:
        look: a function in C, so that no thread of ours makes an interpreter in the middle of it.
    """
    question, answer = _question()
    # As one call of C code, so that none is made between the question and the look either: the first pairs end at once
    # where there is no other interpreter, and only then the look begins.
    others, looks = zip(repeat(False), iter(question, answer)), zip(repeat(True), starmap(look, ((),)))
    looked, found = next(chain(others, looks))
    return found if looked else None


@cache
def _question() -> tuple[Callable[[], Any], Any]:
    """A function in C, and what it returns while this interpreter is alone."""
    try:
        return extension("_native").alone, True
    except NativeUnavailable:
        pass
    if sys.implementation.name != "cpython" or sys.hexversion < 0x030C0000:
        return bool, False
    try:
        import ctypes  # once, for two functions; libffi may keep a descriptor of itself from then on

        head, main = ctypes.pythonapi.PyInterpreterState_Head, ctypes.pythonapi.PyInterpreterState_Main
    except (ImportError, AttributeError):
        return bool, None
    head.restype = main.restype = ctypes.c_void_p
    return head, main()
