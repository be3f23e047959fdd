"""Recorded answers of every command, in both ways of answering: what the client makes of them, and their bytes."""

from __future__ import annotations

import pytest
from support.answers import RECORDINGS

from rbkit_websocket.protocol.codec import pack, unpack
from rbkit_websocket.protocol.commands import COMMANDS
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
