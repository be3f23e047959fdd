"""Where the extensions are not used, the handshake and the log say so and why."""

from __future__ import annotations

import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from support.native import REASON, python
from support.ports import free_port

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


FREE_THREADED = """
import sys
sys.abiflags = "t"  # as such an interpreter has it
import msgpack, zmq
from rbkit_websocket import start_server, stop_server
from rbkit_websocket.protocol.commands import COMMANDS

ports = list(map(int, sys.argv[1:]))
server = start_server(*ports)
socket = zmq.Context.instance().socket(zmq.REQ)
socket.connect(f"tcp://127.0.0.1:{ports[1]}")

def ask(command):
    socket.send_string(command)
    assert socket.poll(30_000), f"no answer to {command}"
    return socket.recv()

for command in COMMANDS.values():
    if not command.arguments:
        assert ask(command.name), command.name
for name in ("native", "heap_snapshot", "object_trace"):
    print(server.status[name])
print(msgpack.unpackb(ask("trace_objects collections.OrderedDict"))["mechanism"])
socket.close()
stop_server()
print(sorted(name for name in sys.modules if name.startswith("rbkit_websocket.native._")))
"""


def test_nothing_native_is_loaded_by_a_free_threaded_interpreter() -> None:
    """Its flag alone is simulated, by an interpreter with a lock; that the rest holds without one is not shown."""
    said = python(FREE_THREADED, arguments=[str(free_port()), str(free_port())])
    sampling, snapshots, tracing, mechanism, loaded = said.splitlines()
    reason = "this Python is free-threaded, and an extension would turn its lock on for all threads"
    assert sampling == f"no: {reason}; a Python thread samples at 100 Hz"
    assert snapshots == f"python: {reason}"
    assert tracing.endswith(f"({reason})")
    assert (mechanism, loaded) == ("weak references", "[]")


@pytest.mark.parametrize("wanted", ["", "require"])
def test_nothing_native_is_built_for_a_free_threaded_interpreter(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its build says of itself is simulated."""
    root = Path(__file__).parents[2]
    monkeypatch.setitem(sys.modules, "setuptools", SimpleNamespace(Extension=Mock, setup=None))  # type: ignore[arg-type]
    monkeypatch.setenv("RBKIT_NATIVE", wanted)
    monkeypatch.chdir(root)
    declared: Any = runpy.run_path("setup.py")["extensions"]
    assert len(declared()) == 3
    monkeypatch.setattr(sysconfig, "get_config_var", {"Py_GIL_DISABLED": 1}.get)
    if wanted:
        with pytest.raises(SystemExit, match="rest on the interpreter's lock"):
            declared()
    else:
        assert declared() == []
