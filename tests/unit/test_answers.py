"""Recorded answers of every command, in both ways of answering: what the client makes of them, and their bytes."""

from __future__ import annotations

from typing import Any

import pytest
from support.answers import RECORDINGS
from support.shapes import check_answer, mismatches

from rbkit_websocket.protocol.codec import pack, unpack
from rbkit_websocket.protocol.commands import COMMANDS
from rbkit_websocket.protocol.commands.memory import SnapshotAnswer
from rbkit_websocket.protocol.commands.stacks import StackFrame
from rbkit_websocket.protocol.messages import decode_answer

ALL = [(way, name) for way, found in RECORDINGS.items() for name in found]


@pytest.mark.parametrize("way", RECORDINGS)
def test_each_command_is_recorded(way: str) -> None:
    assert RECORDINGS[way].keys() == COMMANDS.keys() | {"error"}


@pytest.mark.parametrize(("way", "name"), ALL)
def test_the_client_reads_what_is_recorded(way: str, name: str) -> None:
    answer = decode_answer(RECORDINGS[way][name])
    assert answer == b"ok" or isinstance(answer, dict)


@pytest.mark.parametrize(("way", "name"), ALL)
def test_an_answer_has_the_bytes_that_its_values_make(way: str, name: str) -> None:
    recorded = RECORDINGS[way][name]
    assert recorded == b"ok" or pack(unpack(recorded)) == recorded


@pytest.mark.parametrize(("way", "name"), ALL)
def test_an_answer_is_what_the_table_says(way: str, name: str) -> None:
    check_answer(name, RECORDINGS[way][name])


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (True, int, "True is no"),
        (1.0, int, "1.0 is no"),
        (None, str, "None is no"),
        (b"x", str, "is no"),
        (2, float | None, ""),
        ("x", float | None, "is no float | None"),
        ({"id": 1}, SnapshotAnswer, "is missing"),
        ({"id": 1, "more": 1}, SnapshotAnswer, "no key of"),
        (["a", "a", "f", 1, 2], StackFrame, ""),
        (["a", "a", "f", 1], StackFrame, "4 values, not 5"),
        (["a", "a", "f", 1, None], StackFrame, "[4]"),
        ([1, 2], tuple[int, ...], ""),
        ([1, "2"], list[int], "[1]"),
        ({1: "main"}, dict[int, str], ""),
        ({"1": "main"}, dict[int, str], "'1'"),
    ],
)
def test_what_is_no_such_answer_is_told(value: Any, kind: Any, said: str) -> None:
    found = "; ".join(mismatches(value, kind))
    assert (said in found) if said else not found
