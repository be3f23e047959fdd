"""From profiles to the table of the hottest functions. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..model import Frame, Profile

__all__ = ["Row", "Table", "hottest", "is_idle"]


class Row(NamedTuple):
    """One function.

    Attributes:
        label: its name for people.
        file: path of its source.
        line: where it begins.
        self_us: microseconds in its own code.
        total_us: microseconds in it and in what it called; recursion counts once.
    """

    label: str
    file: str
    line: int
    self_us: int
    total_us: int


@dataclass(frozen=True)
class Table:
    """What a span of time was spent on.

    Attributes:
        rows: the functions with the most self time, hottest first.
        busy_us: microseconds in all functions.
        idle_us: microseconds in which an event loop waited; in no row.
        samples: how many samples this rests on.
        lost_us: microseconds without a sample.
    """

    rows: tuple[Row, ...]
    busy_us: int
    idle_us: int
    samples: int
    lost_us: int

    @property
    def busy_share(self) -> float:
        """Busy part of the time, 0..1; 0 when nothing was sampled."""
        whole = self.busy_us + self.idle_us
        return self.busy_us / whole if whole else 0.0

    def share(self, us: int) -> float:
        """``us`` as a part of the busy time, 0..1."""
        return us / self.busy_us if self.busy_us else 0.0


def is_idle(frames: tuple[Frame, ...]) -> bool:
    """Whether the innermost frame is gevent's event loop: it waits, nothing of the application runs."""
    return bool(frames) and frames[0].name == "run" and frames[0].file.replace("\\", "/").endswith("gevent/hub.py")


def hottest(profiles: Iterable[Profile], limit: int = 20) -> Table:
    """The ``limit`` hottest functions of ``profiles`` together (consecutive spans of one process)."""
    own: dict[tuple[str, str, int], int] = defaultdict(int)
    total: dict[tuple[str, str, int], int] = defaultdict(int)
    busy = idle = samples = lost = 0
    for profile in profiles:
        samples += profile.samples
        lost += profile.lost_us
        for stack in profile.stacks:
            if is_idle(stack.frames):
                idle += stack.weight_us
                continue
            busy += stack.weight_us
            functions = [(frame.label, frame.file, frame.first_line) for frame in stack.frames]
            if functions:
                own[functions[0]] += stack.weight_us
            for function in set(functions):
                total[function] += stack.weight_us
    rows = [Row(*function, own[function], total[function]) for function in own]
    rows.sort(key=lambda row: (-row.self_us, -row.total_us, row.label, row.file, row.line))
    return Table(tuple(rows[:limit]), busy, idle, samples, lost)
