"""Each command asked of a real server: its answer is of the type that the table has, and of the bytes of its values."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from support.answers import WAYS, ask_all, start
from support.shapes import check_answer

from rbkit_websocket.protocol.codec import pack, unpack
from rbkit_websocket.protocol.commands import COMMANDS
from rbkit_websocket.protocol.constants import OK


@pytest.mark.smoke
@pytest.mark.parametrize("way", WAYS)
def test_each_answer_is_what_the_table_says(way: str) -> None:
    if way == "native" and find_spec("rbkit_websocket.native._native") is None:
        pytest.skip("without the C extensions")
    seen = set()
    with start(way) as web:
        for name, answer in ask_all(web):
            check_answer(name, answer)
            # Objects' ids take eight bytes there, also below 4 GiB, where some interpreters have objects of their own.
            assert answer == OK or name == "snapshot_chunk" or pack(unpack(answer)) == answer, name
            seen.add(name)
    assert seen == COMMANDS.keys() | {"error"}
