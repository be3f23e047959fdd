"""Profiles and heaps independent of where they came from: stacks with weights, objects with references. No I/O.

An answer is foreign data: :func:`profile_from_answer` and :class:`Heap` check it once for all their users.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .errors import ProtocolError

__all__ = ["ClassTotal", "Frame", "Growth", "Heap", "HeapObject", "Profile", "Stack", "diff", "profile_from_answer"]


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
        wall_us: microseconds of time; None where the server tells only the profile's clock, and that is another.
        cpu_us: microseconds of CPU time; None likewise.
        waiting: whether the samples are of parked greenlets, whose time is no thread's.
        count: how many samples.
        thread: id of the thread.
        request: the request that the thread was serving (``GET /``), or None.
        frames: innermost first.
    """

    weight_us: int
    count: int
    thread: int
    request: str | None
    frames: tuple[Frame, ...]
    wall_us: int | None = None
    cpu_us: int | None = None
    waiting: bool = False


@dataclass(frozen=True)
class Profile:
    """A span of CPU sampling.

    Attributes:
        cursor: the argument for the next span.
        running: whether sampling goes on.
        clock: ``wall`` or ``cpu``.
        interval_us: microseconds between samples, as they are really taken where the server tells, else as set.
        samples: how many were taken.
        weight_us: microseconds of ``clock`` that all stacks stand for.
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

    def by(self, clock: str, *, waiting: bool = False) -> Profile:
        """The same profile weighed by one clock, ``wall`` or ``cpu``; unchanged where the server lacks that clock.

        Args:
            clock: the clock of ``weight_us``.
            waiting: whether parked greenlets are part of it; they have no CPU time.
        """
        stacks = [(stack, stack.wall_us if clock == "wall" else stack.cpu_us) for stack in self.stacks]
        if any(weight is None for _, weight in stacks):
            return self
        kept = tuple(
            replace(stack, weight_us=weight) for stack, weight in stacks if weight and (waiting or not stack.waiting)
        )
        return replace(self, clock=clock, stacks=kept, weight_us=sum(stack.weight_us for stack in kept))


def profile_from_answer(answer: Any) -> Profile:
    """The answer to the command ``cpu_profile`` as a :class:`Profile`; unknown keys are ignored.

    Raises:
        ProtocolError: the answer is no profile.
    """
    if not isinstance(answer, dict):
        raise ProtocolError("the server answers no profile: it does not know the command cpu_profile")
    try:
        frames = [_frame(row) for row in answer["frames"]]
        clock = str(answer["clock"])
        stacks = tuple(_stack(row, frames, clock) for row in answer["stacks"])
        return Profile(
            cursor=int(answer["cursor"]),
            running=bool(answer["running"]),
            clock=clock,
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


def _stack(row: Any, frames: list[Frame], clock: str) -> Stack:
    indices = [int(index) for index in row["frames"]]
    if indices and min(indices) < 0:
        raise IndexError(f"frame {min(indices)}")
    weight = _weight(row["weight_us"])
    wall, cpu = (
        _weight(row[key]) if key in row else weight if clock == own else None
        for key, own in (("wall_us", "wall"), ("cpu_us", "cpu"))
    )
    request = row.get("request")
    return Stack(
        weight_us=weight,
        count=int(row["count"]),
        thread=int(row.get("thread") or 0),
        request=None if request is None else str(request),
        frames=tuple(frames[index] for index in indices),
        wall_us=wall,
        cpu_us=cpu,
        waiting=row.get("waiting") is True,
    )


def _weight(value: Any) -> int:
    weight = int(value)
    if weight < 0:
        raise ValueError(f"a weight of {weight} us")
    return weight


@dataclass(frozen=True, slots=True)
class ClassTotal:
    """All instances of a class: their number, and their own bytes (without their references)."""

    count: int
    size: int


@dataclass(frozen=True, slots=True)
class Growth:
    """The change of a class from one heap to another.

    Attributes:
        class_name: ``app.models.User``; ``?`` where a class hides its name.
        count: instances more; negative: fewer.
        size: bytes more.
        now: the class in the later heap.
    """

    class_name: str
    count: int
    size: int
    now: ClassTotal


class HeapObject(NamedTuple):
    """One object of a heap.

    Attributes:
        id: its address; after its end another object may have the same.
        class_name: as in :class:`Growth`.
        size: its own bytes; 0 when its type does not tell.
        file, line: of a function, a class, a module and the like; None when unknown.
    """

    id: int
    class_name: str
    size: int
    file: str | None
    line: int | None


class Heap:
    """A snapshot of a heap, packed: some 200 bytes an object.

    Args:
        chunks: objects by the names of their fields, as :meth:`.Client.snapshot` yields them.

    Attributes:
        classes: the total of each class, by name.

    Raises:
        ProtocolError: the chunks hold no objects.
    """

    def __init__(self, chunks: Iterable[Iterable[Mapping[Any, Any]]]) -> None:
        # Old servers send an id twice, for a root and for the object that it is: the last one counts.
        self._ids = array("Q")
        self._positions: dict[int, int] = {}
        self._names: list[str] = []
        self._sizes = array("q")
        self._places: dict[int, tuple[str | None, int | None]] = {}
        self._references = array("Q")
        self._ends = array("Q")
        self._parents: array[int] | None = None
        shared: dict[str, str] = {}
        totals: dict[str, list[int]] = {}
        try:
            for chunk in chunks:
                for item in chunk:
                    self._add(item, shared, totals)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ProtocolError(f"not an object of a heap: {type(error).__name__}: {error}") from None
        self.classes = {name: ClassTotal(*total) for name, total in totals.items()}

    def _add(self, item: Mapping[Any, Any], shared: dict[str, str], totals: dict[str, list[int]]) -> None:
        identity, name = int(item["object_id"]), str(item.get("class_name") or "?")
        size = int(item.get("size") or 0)
        name = shared.setdefault(name, name)
        self._references.extend(item.get("references") or ())
        self._ids.append(identity)
        self._positions[identity] = len(self._names)
        self._names.append(name)
        self._sizes.append(size)
        self._ends.append(len(self._references))
        if (file := item.get("file")) is not None:
            line = item.get("line")
            self._places[identity] = shared.setdefault(str(file), str(file)), None if line is None else int(line)
        total = totals.setdefault(name, [0, 0])
        total[0] += 1
        total[1] += size

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, identity: object) -> bool:
        return identity in self._positions

    def __getitem__(self, identity: int) -> HeapObject:
        """The object of that id; KeyError if the heap has none."""
        position = self._positions[identity]
        place = self._places.get(identity, (None, None))
        return HeapObject(identity, self._names[position], self._sizes[position], *place)

    def of_class(self, class_name: str) -> list[int]:
        """The ids of a class's instances."""
        found = (identity for identity, name in zip(self._ids, self._names, strict=True) if name == class_name)
        return list(dict.fromkeys(found))

    def path(self, identity: int) -> list[HeapObject]:
        """The path that keeps an object alive: the shortest one from a module to it, both included.

        Empty where no module leads to it: a running function or an object written in C holds it.

        Raises:
            KeyError: the heap has no such object.
        """
        position = self._positions[identity]
        if self._parents is None:
            self._parents = self._search()
        found: list[int] = []
        while position >= 0:
            found.append(position)
            position = self._parents[position]
        if self._names[found[-1]] != "module":
            return []
        return [self[self._ids[position]] for position in reversed(found)]

    def _search(self) -> array[int]:
        """The position from which each object was reached first, beginning at all modules; -1 for modules and for
        objects that were not reached."""
        parents = array("q", [-1]) * len(self._names)
        reached = bytearray(name == "module" for name in self._names)
        queue = [position for position, is_module in enumerate(reached) if is_module]
        for position in queue:  # the queue grows meanwhile
            begin = self._ends[position - 1] if position else 0
            for identity in self._references[begin : self._ends[position]]:
                referent = self._positions.get(identity)
                if referent is not None and not reached[referent]:
                    reached[referent] = 1
                    parents[referent] = position
                    queue.append(referent)
        return parents


def diff(before: Heap, after: Heap) -> list[Growth]:
    """Changes from one heap to the other, class by class, the greatest growth in bytes first.

    Classes with unchanged count and size are left out.
    """
    nothing = ClassTotal(0, 0)
    found = []
    for name in {**before.classes, **after.classes}:
        was, now = before.classes.get(name, nothing), after.classes.get(name, nothing)
        if was != now:
            found.append(Growth(name, now.count - was.count, now.size - was.size, now))
    return sorted(found, key=lambda growth: (-growth.size, -growth.count, growth.class_name))
