"""The neutral profile: what a server answers, checked once."""

from __future__ import annotations

from typing import Any

import pytest
from support.standin import RECORDINGS

from rbkit_websocket.errors import ProtocolError
from rbkit_websocket.model import ClassTotal, Frame, Growth, Heap, HeapObject, diff, profile_from_answer
from rbkit_websocket.protocol.messages import decode_publication


def answer(**changes: Any) -> dict[str, Any]:
    return {
        "cursor": 300,
        "running": True,
        "clock": "wall",
        "interval_us": 1000,
        "effective_interval_us": 1010,
        "since": 1.0,
        "until": 2.0,
        "samples": 3,
        "weight_us": 300,
        "lost_us": 7,
        "frames": [["f", "C.f", "/a.py", 10, 12], ["main", "main", "/a.py", 1, 3]],
        "stacks": [
            {"weight_us": 200, "count": 2, "thread": 5, "request": "GET /", "frames": [0, 1]},
            {"weight_us": 100, "count": 1, "thread": 5, "request": None, "frames": [1]},
        ],
        "threads": {5: "MainThread"},
        "something_new": 1,
        **changes,
    }


def test_a_profile_can_be_weighed_by_either_clock() -> None:
    rows = [
        {"weight_us": 9, "wall_us": 9, "cpu_us": 4, "waiting": False, "count": 1, "frames": [0]},
        {"weight_us": 7, "wall_us": 7, "cpu_us": 0, "waiting": True, "count": 1, "frames": [1]},
    ]
    profile = profile_from_answer(answer(stacks=rows))
    assert [stack.waiting for stack in profile.stacks] == [False, True]
    cpu = profile.by("cpu")
    assert (cpu.clock, cpu.weight_us, [stack.weight_us for stack in cpu.stacks]) == ("cpu", 4, [4])
    assert profile.by("wall").weight_us == 9
    assert profile.by("wall", waiting=True).weight_us == 16
    # One that does not tell the other clock stays as it is.
    old = profile_from_answer(answer())
    assert old.by("cpu") is old
    assert old.by("wall").weight_us == 300


def test_an_answer_becomes_stacks_with_weights():
    profile = profile_from_answer(answer())
    assert (profile.cursor, profile.running, profile.clock, profile.interval_us) == (300, True, "wall", 1010)
    assert (profile.samples, profile.weight_us, profile.lost_us) == (3, 300, 7)
    assert profile.threads == {5: "MainThread"}
    first, second = profile.stacks
    assert first.frames == (Frame("f", "C.f", "/a.py", 10, 12), Frame("main", "main", "/a.py", 1, 3))
    assert (first.weight_us, first.count, first.thread, first.request) == (200, 2, 5, "GET /")
    assert (second.frames, second.request) == ((Frame("main", "main", "/a.py", 1, 3),), None)


def test_the_interval_is_the_real_one_where_it_is_told():
    assert profile_from_answer(answer(effective_interval_us=None)).interval_us == 1000


def test_frames_may_grow_and_lines_may_be_unknown():
    profile = profile_from_answer(answer(frames=[["f", "f", "x", None, None, "more"], ["g", "g", "x", 1, 1]]))
    assert profile.stacks[0].frames[0] == Frame("f", "f", "x", 0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        b"ok",
        None,
        {},
        answer(frames=[]),
        answer(frames=[["f"]] * 2),
        answer(frames=3),
        answer(stacks=[{"weight_us": 1, "count": 1, "frames": [-1]}]),
        answer(stacks=[{"weight_us": -1, "count": 1, "frames": [0]}]),
        answer(stacks=[{"weight_us": float("inf"), "count": 1, "frames": [0]}]),
        answer(stacks=[7]),
        answer(cursor="x"),
        answer(threads=[1]),
    ],
)
def test_anything_else_is_a_protocol_error(wrong):
    with pytest.raises(ProtocolError):
        profile_from_answer(wrong)


# -- heaps


def thing(identity: int, name: str | None, references: list[int], size: int | None = 10, **rest: Any) -> dict[str, Any]:
    return {
        "object_id": identity,
        "class_name": name,
        "references": references,
        "size": size,
        "file": None,
        "line": None,
        **rest,
    }


def heap(*objects: dict[str, Any]) -> Heap:
    return Heap([list(objects[:2]), list(objects[2:])])


def test_a_heap_counts_its_classes():
    found = heap(
        thing(1, "list", [2, 3]), thing(2, "app.User", []), thing(3, "app.User", [], 30), thing(4, None, [], None)
    )
    assert found.classes == {"list": ClassTotal(1, 10), "app.User": ClassTotal(2, 40), "?": ClassTotal(1, 0)}
    assert len(found) == 4
    assert 3 in found
    assert 5 not in found
    assert found.of_class("app.User") == [2, 3]
    assert found[3] == HeapObject(3, "app.User", 30, None, None)


def test_two_heaps_differ_by_class_and_what_grew_most_is_first():
    before = heap(thing(1, "list", []), thing(2, "gone.Away", [], 5), thing(3, "same.Same", []))
    after = heap(
        thing(1, "list", [], 12), thing(3, "same.Same", []), thing(4, "app.Leaked", []), thing(5, "app.Leaked", [])
    )
    assert diff(before, after) == [
        Growth("app.Leaked", 2, 20, ClassTotal(2, 20)),
        Growth("list", 0, 2, ClassTotal(1, 12)),
        Growth("gone.Away", -1, -5, ClassTotal(0, 0)),
    ]


def test_the_path_to_an_object_is_the_shortest_from_a_module():
    found = heap(
        thing(1, "dict", [2, 9]),
        thing(2, "list", [3]),
        thing(3, "app.Leaked", [2]),
        thing(4, "module", [5], file="/app.py"),
        thing(5, "dict", [6, 3]),
        thing(6, "dict", [3]),
        thing(7, "frame", [8]),
        thing(8, "str", []),
    )
    assert [(step.class_name, step.id) for step in found.path(3)] == [("module", 4), ("dict", 5), ("app.Leaked", 3)]
    assert found.path(3)[0].file == "/app.py"
    assert [step.id for step in found.path(4)] == [4]
    assert found.path(8) == [], "only a running function has it"
    assert found.path(1) == []
    with pytest.raises(KeyError):
        found.path(99)


@pytest.mark.parametrize(
    "wrong",
    [
        b"ok",
        None,
        {},
        {"object_id": "x", "class_name": "a", "references": [], "size": 1, "file": None, "line": None},
        thing(1, "a", [-1]),
        thing(1, "a", ["x"]),
        thing(1, "a", [1 << 70]),
        thing(1, "a", [], size="x"),
        thing(1, "a", [], size=1 << 70),
        thing(1, "a", [], file="/x", line="y"),
    ],
)
def test_what_is_no_object_of_a_heap_is_refused(wrong: Any):
    with pytest.raises(ProtocolError, match="not an object"):
        Heap([[wrong]])


def test_a_recording_of_before_there_were_sizes_is_a_heap_in_every_respect() -> None:
    [event] = decode_publication(RECORDINGS["object_space_dump_v1"]).events
    heap = Heap([event.payload])
    assert sum(total.count for total in heap.classes.values()) == len(heap) == len(event.payload)
    assert {total.size for total in heap.classes.values()} == {0}
    for name in heap.classes:
        ids = heap.of_class(name)
        assert len(ids) == len(set(ids))
        assert all(identity in heap for identity in ids)
        assert heap.path(ids[0]) == []  # a Ruby heap has no module of Python's
    assert diff(heap, heap) == []


def test_an_id_that_occurs_twice_shifts_no_path() -> None:
    objects = [
        {"object_id": 1, "class_name": "vm", "references": None},
        {"object_id": 1, "class_name": "module", "references": [2]},
        {"object_id": 2, "class_name": "list", "references": [3], "size": None},
        {"object_id": 3, "class_name": "Item"},
    ]
    heap = Heap([objects])
    assert [step.class_name for step in heap.path(3)] == ["module", "list", "Item"]
    assert heap.of_class("vm") == heap.of_class("module") == [1]
    assert heap[1].class_name == "module"
