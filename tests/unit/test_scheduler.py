"""Jobs that take turns: by a clock of the test's own, without a server."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from rbkit_websocket.server.scheduler import Scheduler


class Clock:
    """Moves by a millisecond each time somebody looks, and by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scheduler(clock: Clock) -> Scheduler:
    return Scheduler(clock)


def counting(upto: int, seen: list[int], wait: float | None = None) -> Generator[float | None, None, str]:
    for number in range(upto):
        seen.append(number)
        yield wait
    return "done"


def test_nothing_is_due_where_nothing_is_to_be_done(scheduler: Scheduler) -> None:
    assert scheduler.deadline() is None
    scheduler.work(0)


def test_a_job_gets_a_slice_of_the_time_and_goes_on_in_the_next(scheduler: Scheduler, clock: Clock) -> None:
    seen: list[int] = []
    ended: list[Any] = []
    scheduler.add(counting(25, seen), ended.append)
    assert scheduler.deadline() == 0
    scheduler.work(clock())
    assert 5 <= len(seen) <= 10, "ten milliseconds"
    turns = 1
    while not ended:
        scheduler.work(clock())
        turns += 1
    assert ended == ["done"]
    assert seen == list(range(25))
    assert turns >= 3
    assert scheduler.deadline() is None


def test_a_job_that_waits_keeps_nobody(scheduler: Scheduler, clock: Clock) -> None:
    waiting: list[int] = []
    busy: list[int] = []
    scheduler.add(counting(3, waiting, wait=5))
    scheduler.add(counting(3, busy))
    scheduler.work(clock())
    assert (waiting, busy) == ([0], [0, 1, 2])
    due = scheduler.deadline()
    assert due == pytest.approx(clock.now + 5, abs=0.1)
    scheduler.work(clock())
    assert waiting == [0], "it is not its time"
    clock.now += 5
    scheduler.work(clock())
    assert waiting == [0, 1]


def test_what_a_job_raises_is_told_to_its_owner_alone(scheduler: Scheduler, clock: Clock) -> None:
    def failing() -> Generator[float | None, None, None]:
        yield None
        raise ValueError("no heap")

    failures: list[Exception] = []
    seen: list[int] = []
    scheduler.add(failing(), failed=failures.append)
    scheduler.add(counting(2, seen))
    scheduler.work(clock())
    assert [str(error) for error in failures] == ["no heap"]
    assert seen == [0, 1]
    scheduler.add(failing())
    with pytest.raises(ValueError, match="no heap"):
        scheduler.work(clock())


def test_the_end_closes_every_job_where_it_stands(scheduler: Scheduler, clock: Clock) -> None:
    closed: list[str] = []

    def holding(name: str) -> Generator[float | None, None, None]:
        try:
            while True:
                yield 10
        finally:
            closed.append(name)

    for name in ("a", "b"):
        scheduler.add(holding(name))
    scheduler.work(clock())
    scheduler.close()
    assert closed == ["a", "b"]
    assert scheduler.deadline() is None
