"""Deep stacks: their innermost and outermost frames, and in the middle a frame with the number left out.

So a recursion hides neither its place nor its origin. ``native/common/frames.c`` does the same in C.
"""

from __future__ import annotations

from functools import lru_cache
from types import CodeType
from typing import Any, Final

__all__ = ["LONGEST", "both_ends", "omitted"]

KEPT: Final = 128
"""Frames at each end."""
LONGEST: Final = 2 * KEPT + 1
"""Frames of the longest stack."""


def both_ends(stack: list[Any]) -> list[Any]:
    """A stack of at most :data:`LONGEST` frames.

    Args:
        stack: code, instruction, code, instruction, ... innermost first.
    """
    left_out = len(stack) // 2 - 2 * KEPT
    return stack if left_out <= 1 else [*stack[: 2 * KEPT], omitted(left_out), 0, *stack[-2 * KEPT :]]


@lru_cache(1024)
def omitted(number: int) -> CodeType:
    """A stand-in for so many frames: the code of a function of that name, in no file."""
    name = f"(… {number} frames …)"
    return compile("", "", "exec").replace(co_name=name, co_qualname=name, co_firstlineno=0)
