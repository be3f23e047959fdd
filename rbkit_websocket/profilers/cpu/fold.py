"""Samples for readers: added up by stack and request, frames numbered, packed.

The extension does this in C; without it this module gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ...native.loader import NativeUnavailable, extension
from ...protocol.codec import pack
from ...protocol.commands.cpu import SampledStack
from ...protocol.commands.stacks import StackFrame
from ..base import code_line

if TYPE_CHECKING:
    from ...native._native import Stack as NativeStack

__all__ = ["AnyStack", "Entry", "Folding", "PlainStack", "fold_plainly", "folding"]


class PlainStack:
    """A distinct stack of a thread; compared by identity, because comparing code objects compares their bytecode.

    Args:
        thread: its identity.
        parts: code, instruction, code, instruction, ... innermost first.
    """

    __slots__ = ("codes", "instructions", "thread")

    def __init__(self, thread: int, parts: tuple[Any, ...]) -> None:
        self.thread = thread
        self.codes: tuple[CodeType, ...] = parts[0::2]
        self.instructions: tuple[int, ...] = parts[1::2]


AnyStack: TypeAlias = "PlainStack | NativeStack"
Entry: TypeAlias = "tuple[AnyStack, str | None, int, int, int, bool]"
"""Stack, name of its request, microseconds of time and of CPU time, number of samples, whether it is a greenlet that
waits."""


class Folding(NamedTuple):
    """The functions that fold in this process."""

    stack: Callable[[int, tuple[Any, ...]], AnyStack]
    """Makes the stacks that :attr:`fold` takes, as :class:`PlainStack` does."""
    fold: Callable[[list[Sequence[Entry]], bool], tuple[bytes, bytes, set[int]]]
    """Takes entries, and whether ``weight_us`` is CPU time; returns ``frames`` and ``stacks`` of a ``cpu_profile``,
    packed, and the threads' identities."""


def folding() -> Folding:
    """C functions if the extension is there, else those in Python."""
    try:
        native = extension("_native")
    except NativeUnavailable:
        return Folding(PlainStack, fold_plainly)
    return Folding(native.stack, native.fold)


def fold_plainly(parts: Iterable[Sequence[Entry]], cpu_clock: bool) -> tuple[bytes, bytes, set[int]]:
    """:attr:`Folding.fold` in Python."""
    numbers = _Numbers()
    indices: dict[AnyStack, tuple[int, ...]] = {}
    # Stacks that differ only in instructions of the same lines are one stack for readers.
    sums: dict[tuple[int, tuple[int, ...], str | None, bool], list[int]] = {}
    for part in parts:
        for stack, name, wall, cpu, count, waiting in part:
            frames = indices.get(stack)
            if frames is None:
                frames = indices[stack] = numbers.of(stack)
            total = sums.setdefault((stack.thread, frames, name, waiting), [0, 0, 0])
            total[0] += wall
            total[1] += cpu
            total[2] += count
    stacks: list[SampledStack] = [
        {
            "wall_us": wall,
            "cpu_us": cpu,
            "weight_us": cpu if cpu_clock else wall,
            "waiting": waiting,
            "count": count,
            "thread": thread,
            "request": name,
            "frames": frames,
        }
        for (thread, frames, name, waiting), (wall, cpu, count) in sorted(sums.items(), key=lambda item: -item[1][0])
    ]
    return pack(numbers.frames), pack(stacks), {stack.thread for stack in indices}


class _Numbers:
    """Numbers frames as they come: one entry for each distinct line of each function."""

    def __init__(self) -> None:
        self.frames: list[StackFrame] = []
        self._index: dict[tuple[int, int], int] = {}

    def of(self, stack: AnyStack) -> tuple[int, ...]:
        return tuple(map(self._number, stack.codes, stack.instructions))

    def _number(self, code: CodeType, instruction: int) -> int:
        key = (id(code), instruction)
        number = self._index.get(key)
        if number is None:
            line = code_line(code, instruction)
            number = self._index.setdefault((id(code), -1 - line), len(self.frames))
            if number == len(self.frames):
                self.frames.append((code.co_name, code.co_qualname, code.co_filename, code.co_firstlineno, line))
            self._index[key] = number
        return number
