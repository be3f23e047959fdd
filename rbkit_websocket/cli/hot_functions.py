"""Makes the table of the hottest functions from profiles. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ..model import Frame, Profile

__all__ = ["Row", "Table", "hottest"]

_EVENT_LOOP: Final = ("gevent/hub.py", ("run",))
# A thread that samples find here is parked; which function waits differs between releases of gevent and Python.
_PARKED: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("gevent/_threading.py", ()),
    ("gevent/threadpool.py", ()),
    ("/threading.py", ("wait", "_wait_for_tstate_lock", "join")),
    ("/concurrent/futures/thread.py", ("_worker",)),
    ("/selectors.py", ("select",)),
)


class Row(NamedTuple):
    """One function.

    Attributes:
        label: its name for people.
        file: path of its source.
        line: where it begins.
        self_us: microseconds in its own code.
        total_us: microseconds in it and in its callees; recursion counts once.
    """

    label: str
    file: str
    line: int
    self_us: int
    total_us: int


@dataclass(frozen=True)
class Table:
    """The functions on which a span of time was spent.

    Attributes:
        rows: the functions with the most self time, hottest first.
        busy_us: microseconds in all functions.
        idle_us: microseconds in which an event loop waited; in no row.
        parked_us: microseconds that other threads spent waiting for a lock or for work; in no row either.
        samples: the number of samples.
        lost_us: microseconds without a sample.
    """

    rows: tuple[Row, ...]
    busy_us: int
    idle_us: int
    parked_us: int
    samples: int
    lost_us: int

    @property
    def busy_share(self) -> float:
        """Busy part of the event loop's time, 0..1; 0 when nothing was sampled."""
        whole = self.busy_us + self.idle_us
        return self.busy_us / whole if whole else 0.0

    def share(self, us: int) -> float:
        """``us`` as a part of the busy time, 0..1."""
        return us / self.busy_us if self.busy_us else 0.0


def _is_at(frame: Frame, file: str, names: tuple[str, ...]) -> bool:
    return frame.file.replace("\\", "/").endswith(file) and (not names or frame.name in names)


def hottest(profiles: Iterable[Profile], limit: int = 20) -> Table:
    """The ``limit`` hottest functions of ``profiles`` together (consecutive spans of one process)."""
    own: dict[tuple[str, str, int], int] = defaultdict(int)
    total: dict[tuple[str, str, int], int] = defaultdict(int)
    busy = idle = parked = samples = lost = 0
    for profile in profiles:
        samples += profile.samples
        lost += profile.lost_us
        for stack in profile.stacks:
            innermost = stack.frames[0] if stack.frames else None
            if innermost and _is_at(innermost, *_EVENT_LOOP):
                idle += stack.weight_us
                continue
            if innermost and any(_is_at(innermost, *place) for place in _PARKED):
                parked += stack.weight_us
                continue
            busy += stack.weight_us
            functions = [(frame.label, frame.file, frame.first_line) for frame in stack.frames]
            if functions:
                own[functions[0]] += stack.weight_us
            for function in set(functions):
                total[function] += stack.weight_us
    rows = [Row(*function, own[function], total[function]) for function in own]
    rows.sort(key=lambda row: (-row.self_us, -row.total_us, row.label, row.file, row.line))
    return Table(tuple(rows[:limit]), busy, idle, parked, samples, lost)
