"""Where the native sampler is not used, the handshake and the log say so and why."""

from __future__ import annotations

import subprocess

import pytest
from support.native import REASON, python

SERVER = """
import logging
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
from rbkit_websocket import start_server, stop_server
server = start_server(None, None)
print(server.status["native"])
stop_server()
"""


def test_when_it_is_turned_off() -> None:
    code = SERVER + "print(server.status['heap_snapshot'])"
    answer = python(code, env={"RBKIT_NATIVE": "0"}, stderr=subprocess.STDOUT)
    word = "no: RBKIT_NATIVE turns it off; a Python thread samples at 100 Hz"
    snapshots = "python: RBKIT_NATIVE turns it off"
    assert answer.splitlines() == [f"INFO rbkit: native sampler: {word}", word, snapshots]


@pytest.mark.skipif(not REASON, reason="the extension is there")
def test_when_it_was_not_built() -> None:
    answer = python(SERVER, stderr=subprocess.STDOUT)
    word = "no: the extension was not built when this package was installed; a Python thread samples at 100 Hz"
    assert answer.splitlines() == [f"INFO rbkit: native sampler: {word}", word]


@pytest.mark.skipif(bool(REASON), reason=f"no native sampler: {REASON}")
def test_when_it_is_used() -> None:
    answer = python(SERVER, stderr=subprocess.STDOUT)
    assert answer.splitlines() == ["INFO rbkit: native sampler: yes", "yes"]
