"""A profile independent of where it came from: stacks with weights. No I/O.

What a server answers is somebody else's data: :func:`profile_from_answer` checks it once for everybody behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .errors import ProtocolError

__all__ = ["Frame", "Profile", "Stack", "profile_from_answer"]


class Frame(NamedTuple):
    """One level of a stack.

    Attributes:
        name: the function's name, ``run``.
        label: its name for people, ``Hub.run``.
        file: path of its source, as the interpreter has it.
        first_line: line where the function begins; 0 when unknown.
        line: line that was executing; 0 when unknown.
    """

    name: str
    label: str
    file: str
    first_line: int
    line: int


@dataclass(frozen=True)
class Stack:
    """Samples that saw the same stack in the same thread and request.

    Attributes:
        weight_us: microseconds of the profile's clock that they stand for.
        count: how many samples.
        thread: id of the thread.
        request: what the thread was serving (``GET /``), or None.
        frames: innermost first.
    """

    weight_us: int
    count: int
    thread: int
    request: str | None
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Profile:
    """A span of CPU sampling.

    Attributes:
        cursor: what to ask for next: the span behind this one.
        running: whether sampling goes on.
        clock: ``wall`` or ``cpu``.
        interval_us: microseconds between samples, as they are really taken where the server tells, else as set.
        samples: how many were taken.
        weight_us: microseconds that all stacks stand for.
        lost_us: microseconds for which there is no sample.
        stacks: the samples, aggregated.
        threads: names by id.
    """

    cursor: int
    running: bool
    clock: str
    interval_us: int
    samples: int
    weight_us: int
    lost_us: int
    stacks: tuple[Stack, ...]
    threads: Mapping[int, str]


def profile_from_answer(answer: Any) -> Profile:
    """The answer to the command ``cpu_profile`` as a :class:`Profile`; keys that are not known are ignored.

    Raises:
        ProtocolError: it is no such answer.
    """
    if not isinstance(answer, dict):
        raise ProtocolError("the server answers no profile: it does not know the command cpu_profile")
    try:
        frames = [_frame(row) for row in answer["frames"]]
        stacks = tuple(_stack(row, frames) for row in answer["stacks"])
        return Profile(
            cursor=int(answer["cursor"]),
            running=bool(answer["running"]),
            clock=str(answer["clock"]),
            interval_us=int(answer.get("effective_interval_us") or answer["interval_us"]),
            samples=int(answer["samples"]),
            weight_us=sum(stack.weight_us for stack in stacks),
            lost_us=int(answer.get("lost_us") or 0),
            stacks=stacks,
            threads={int(key): str(name) for key, name in dict(answer.get("threads") or {}).items()},
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise ProtocolError(f"not the answer to cpu_profile: {type(error).__name__}: {error}") from None


def _frame(row: Any) -> Frame:
    name, label, file, first_line, line = row[:5]
    return Frame(str(name), str(label), str(file), int(first_line or 0), int(line or 0))


def _stack(row: Any, frames: list[Frame]) -> Stack:
    indices = [int(index) for index in row["frames"]]
    if indices and min(indices) < 0:
        raise IndexError(f"frame {min(indices)}")
    weight = int(row["weight_us"])
    if weight < 0:
        raise ValueError(f"a weight of {weight} us")
    request = row.get("request")
    return Stack(
        weight_us=weight,
        count=int(row["count"]),
        thread=int(row.get("thread") or 0),
        request=None if request is None else str(request),
        frames=tuple(frames[index] for index in indices),
    )
