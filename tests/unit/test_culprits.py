"""Blocks put together by the application's line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rbkit_websocket.profilers.greenlets.culprits import by_line

APP = "/srv/shop/views.py"
LIBRARY = "/venv/lib/python3.11/site-packages/requests/api.py"


@dataclass
class Block:
    stack: list[list[Any]]
    request: str | None = "GET /a"
    count: int = 1
    total: float = 1.0
    longest: float = 1.0
    last: float = 1.0


def frame(name: str, file: str, line: int) -> list[Any]:
    return [name, name, file, 1, line]


def same(name: str) -> str:
    return name


VIEW = frame("view", APP, 12)
SERVER = frame("handle", LIBRARY, 9)


def test_one_line_with_many_inner_stacks_is_one_entry() -> None:
    blocks = [
        Block([frame("read", json.__file__, number), frame("get", LIBRARY, 5), VIEW, SERVER], longest=float(number))
        for number in range(9)
    ]
    [entry] = by_line(blocks, same)
    assert (entry["count"], entry["total"], entry["longest"], entry["line"]) == (9, 9.0, 8.0, 2)
    assert entry["stack"] == blocks[8].stack
    assert [inner["stack"][0][4] for inner in entry["inner"]] == list(range(8, -1, -1))
    assert all(len(inner["stack"]) == 2 for inner in entry["inner"])


def test_other_lines_and_other_requests_are_other_entries() -> None:
    blocks = [
        Block([VIEW, SERVER]),
        Block([frame("view", APP, 13), SERVER], longest=3.0),
        Block([VIEW, SERVER], request="GET /b", longest=2.0),
        Block([VIEW, SERVER], request=None),
    ]
    found = by_line(blocks, same)
    assert len(found) == 4
    assert [entry["longest"] for entry in found] == [3.0, 2.0, 1.0, 1.0]


def test_blocks_without_a_line_of_the_application_stay_apart() -> None:
    blocks = [Block([frame("poll", LIBRARY, number)], request=None) for number in (1, 2, 2)]
    found = by_line(blocks, same)
    assert sorted(entry["count"] for entry in found) == [1, 2]
    assert all(entry["line"] is None and entry["inner"] == [] for entry in found)


def test_requests_that_have_got_their_route_since_are_put_together() -> None:
    blocks = [Block([VIEW, SERVER], request="GET /u/<int>"), Block([VIEW, SERVER], request="GET /u/<int:user>")]
    [entry] = by_line(
        blocks, {"GET /u/<int>": "GET /u/<int:user>", "GET /u/<int:user>": "GET /u/<int:user>"}.__getitem__
    )
    assert (entry["request"], entry["count"]) == ("GET /u/<int:user>", 2)
