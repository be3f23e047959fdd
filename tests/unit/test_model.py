"""The neutral profile: what a server answers, checked once."""

from __future__ import annotations

from typing import Any

import pytest

from rbkit_websocket.errors import ProtocolError
from rbkit_websocket.model import Frame, profile_from_answer


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
