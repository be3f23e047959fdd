"""The census: exact where the process stands still, safe where it does not, and within its share of the time."""

from __future__ import annotations

import gc
import time
import types
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from support.hubs import without_hub
from support.native import native_host
from support.tracing import _trace, native
from support.waiting import scaled, wait_until

from rbkit_websocket.profilers.base import Host, class_name
from rbkit_websocket.profilers.memory.census import SHARE, SHORTEST_INTERVAL, Census

pytestmark = pytest.mark.small_heap

HERE = __name__


class Counted:
    pass


class Unhashable(type):
    def __eq__(cls, other: object) -> bool:
        raise AssertionError("compared")

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def host() -> Iterator[Host]:
    without_hub()  # there is no server that would come to the rescue
    with native_host() as host:
        yield host


@pytest.fixture(params=["native", "python"])
def census(request: pytest.FixtureRequest, host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Census]:
    if request.param == "python":
        monkeypatch.setenv("RBKIT_NATIVE", "0")
    elif _trace is None or not _trace.CAN_COUNT:
        pytest.skip("no extension, or one that does not know the collector's lists here")
    census = Census(host)
    assert census.method.startswith("gc.get_objects()") is (request.param == "python")
    yield census
    census.switch(False)


def complete(census: Census) -> dict[str, tuple[int, int]]:
    """One census from begin to end."""
    before = census.last.at_ms
    census.switch(False)
    census.switch(True)
    wait_until(lambda: census.tick(time.monotonic()) or census.last.at_ms > before, "a census")
    return census.last.live


def expected() -> Counter[str]:
    return Counter(class_name(type(thing)) or "?" for thing in gc.get_objects())


def test_it_counts_what_the_collector_tracks(census: Census) -> None:
    kept = [Counted() for _ in range(1234)]
    gc.collect()
    young = [Counted() for _ in range(11)]
    found = complete(census)
    assert found[f"{HERE}.Counted"] == (1245, 1234)
    right = expected()
    assert census.last.total == sum(live for live, _ in found.values())
    left = ("tuple", "list")  # by the census itself: a tuple of each class in what it found, and more
    for name in left:
        del right[name]
    counted = census.last.total - sum(found[name][0] for name in left)
    assert counted == pytest.approx(sum(right.values()), rel=0.01)
    for name, count in right.most_common(30):
        assert found[name][0] == pytest.approx(count, rel=0.02, abs=30), name
    assert len(kept) + len(young) == 1245
    assert abs(census.last.at_ms - time.time() * 1000) < 60_000


def test_no_code_of_a_metaclass_runs(census: Census) -> None:
    hostile = Unhashable("Hostile", (), {"__module__": HERE})
    kept = [hostile() for _ in range(5)]
    assert complete(census)[f"{HERE}.Hostile"][0] == len(kept)


def test_how_long_it_waits_follows_from_what_it_took(census: Census) -> None:
    kept = [[number] for number in range(300_000)]
    complete(census)
    assert census.last.took_usec > 500
    assert census.interval == max(SHORTEST_INTERVAL, census._spent / SHARE)
    due = census.deadline()
    assert due is not None
    assert due - time.monotonic() == pytest.approx(census.interval, abs=0.5)
    assert len(kept) == 300_000
    census.switch(False)
    assert census.deadline() is None


def test_nothing_is_kept_alive(census: Census) -> None:
    kept = [Counted() for _ in range(50)]
    complete(census)
    del kept
    assert not [thing for thing in gc.get_objects() if type(thing) is Counted]
    cls = type("Passing", (), {"__module__": HERE})
    seen = __import__("weakref").ref(cls)
    thing: Any = cls()
    assert complete(census)[f"{HERE}.Passing"] == (1, 0)
    del thing, cls
    gc.collect()
    assert seen() is None


def test_the_application_that_is_behind_is_waited_for(census: Census, host: Host) -> None:
    host.behind = lambda: True
    census.switch(True)
    census.tick(time.monotonic())
    census.finish()
    assert census.last.at_ms == 0
    host.behind = bool
    census.finish()  # it is not due, and does it nevertheless
    assert census.last.at_ms > 0


# -- slices


@pytest.fixture
def walk() -> Iterator[Any]:
    if not _trace.CAN_COUNT:
        pytest.skip("the collector's lists are not known here")
    yield _trace
    _trace.census_end()


def finish(walk: Any) -> dict[type, tuple[int, int]]:
    while not walk.census_step(1000):
        pass
    return {cls: (live, old) for cls, live, old in walk.census_end()}


@native
def test_a_slice_is_short_and_the_sum_is_whole(walk: Any) -> None:
    kept = [[number] for number in range(400_000)]
    gc.collect()
    walk.census_begin()
    steps = 1
    longest = 0.0
    while True:
        began = time.thread_time()
        done = walk.census_step(300)
        longest = max(longest, time.thread_time() - began)
        if done:
            break
        steps += 1
    assert steps > 3
    assert longest < scaled(0.005)
    assert {cls: live for cls, live, _ in walk.census_end()}[list] >= len(kept)


@native
@pytest.mark.parametrize("between", ["young", "full", "freeze", "die", "begin", "resize"])
def test_whatever_happens_between_two_slices(walk: Any, between: str) -> None:
    class Node:
        pass

    kept = [Node() for _ in range(200_000)]
    gc.collect()
    walk.census_begin()
    try:
        for number in range(40):
            if walk.census_step(100):
                walk.census_begin()
            if between == "young":
                kept += [Node() for _ in range(500)]
                gc.collect(number % 2)
            elif between == "full":
                gc.collect()
            elif between == "freeze":
                (gc.freeze if number % 2 else gc.unfreeze)()
            elif between == "die":
                del kept[::17]
                type("Passing", (), {})()
                gc.collect(1)
            elif between == "begin":
                walk.census_begin()
            else:
                for cls in [type(f"Class{number}", (Node,), {}) for number in range(30)]:
                    kept.append(cls())
        gc.unfreeze()
        walk.census_begin()
        assert finish(walk)[Node][0] == sum(type(thing) is Node for thing in kept)
        gc.collect()  # which crashes if a list is no ring any more
    finally:
        gc.unfreeze()


@native
@pytest.mark.parametrize("change", [gc.freeze, gc.unfreeze], ids=["freeze", "unfreeze"])
def test_what_is_frozen_or_released_meanwhile_is_not_counted_twice(walk: Any, change: Any) -> None:
    """At every point: among the frozen objects, the old ones, the young ones."""

    class Frozen:
        pass

    at, ended = 0, False
    while not ended:
        gc.unfreeze()
        frozen = [Frozen() for _ in range(20_000)]
        gc.freeze()
        kept = [Counted() for _ in range(60_000)]
        gc.collect()
        kept += [Counted() for _ in range(500)]
        try:
            walk.census_begin()
            done, steps = False, 0
            while done is False:
                if steps == at:
                    change()
                done = walk.census_step(200)
                steps += 1
            ended = at >= steps
            if done is None:
                walk.census_begin()
            found = finish(walk)
            assert (found[Counted][0], found[Frozen][0]) == (len(kept), len(frozen)), at
        finally:
            gc.unfreeze()
        at += 1
    assert at > 4, "each of the lists took a step or more"


@native
def test_frozen_objects_are_counted_as_old(walk: Any) -> None:
    kept = [Counted() for _ in range(100)]
    gc.freeze()
    try:
        walk.census_begin()
        assert finish(walk)[Counted] == (100, 100)
    finally:
        gc.unfreeze()
    assert len(kept) == 100


def test_frozen_objects_are_counted_or_said_to_be_left_out(census: Census) -> None:
    kept = [Counted() for _ in range(100)]
    gc.freeze()
    try:
        # How many there are is asked for rarely.
        wait_until(
            lambda: complete(census) and (f"{HERE}.Counted" in census.last.live or census.note), "the frozen ones"
        )
    finally:
        gc.unfreeze()
    if census.note:
        assert int(census.note.split()[0]) >= len(kept)
        assert "frozen" in census.method
    else:
        assert census.last.live[f"{HERE}.Counted"] == (100, 100)


@native
def test_a_census_that_is_disturbed_all_the_time_says_so(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    census = Census(host)
    good = complete(census)
    monkeypatch.setattr("rbkit_websocket.profilers.memory.census.SLICE_USEC", 1)
    census.switch(False)
    census.switch(True)

    def disturbed() -> str:
        census._due = 0.0
        census.tick(time.monotonic())
        gc.collect()
        return census.note

    assert "full collections come faster" in wait_until(disturbed, "the census to give up", timeout=20)
    assert census.last.live is good, "the earlier one stays"


@native
def test_steps_out_of_turn(walk: Any) -> None:
    assert walk.census_end() == []
    with pytest.raises(RuntimeError, match="no census"):
        walk.census_step(10)
    assert walk.census_begin() == []
    walk.census_step(10_000_000)
    assert types.FunctionType in walk.census_begin(), "what the former one held, to be released"
