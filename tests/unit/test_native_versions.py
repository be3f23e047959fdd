"""What the extensions may do beyond the interpreter's public functions: only on versions that the tests have run on."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

import pytest
from support.native import native, python
from support.ports import free_port
from support.tracing import MECHANISMS

from rbkit_websocket.native.loader import extension

pytestmark = native

references = MECHANISMS and extension("_trace").REFERENCES in MECHANISMS
COMPAT = Path(__file__).parents[2] / "rbkit_websocket" / "native" / "common" / "compat.h"
UNKNOWN, NEWER, TESTED = range(3)


def release() -> int:
    """What the table has of the interpreter that runs; .ci/newer says what it has made of that."""
    if told := os.environ.get("RBKIT_TEST_RELEASE"):
        return int(told)
    rows = re.findall(r"release\((\d+), (\d+), (\d+)\)", COMPAT.read_text())
    table = {int(minor): (int(oldest), int(newest)) for minor, oldest, newest in rows}
    assert len(table) >= 5
    _, minor, patch, level, _ = sys.version_info
    oldest, newest = table.get(minor, (sys.maxsize, 0))
    return UNKNOWN if level != "final" or patch < oldest else NEWER if patch > newest else TESTED


def test_private_ways_are_open_on_tested_versions_alone() -> None:
    from rbkit_websocket.native import _heap

    trace, sampler = extension("_trace"), extension("_native")
    assert release() == trace.RELEASE
    ways = (
        bool(trace.CAN_HOOK), bool(trace.CAN_COUNT), bool(trace.CAN_SITE), _heap.ROOTS == "lists",
        sampler.status()["walk"] == "internal",
    )  # fmt: skip
    if trace.RELEASE == UNKNOWN:
        assert not any(ways)
        assert not trace.CAN_REFTRACE
        assert sampler.needs_signal() == (sys.version_info < (3, 13))
        assert not sampler.use_internal_walk(True)
        for mechanism in (trace.HOOKS, trace.REFERENCES):
            with pytest.raises(RuntimeError, match="does not work here"):
                trace.start(mechanism, ("*",), 64, False)
    else:
        assert all(ways)
        assert bool(trace.CAN_REFTRACE) is (sys.version_info >= (3, 13))
        assert not sampler.needs_signal()


EVERY_COMMAND = """
import collections, sys, threading, time
import msgpack, zmq
from rbkit_websocket import start_server, stop_server
from rbkit_websocket.protocol.commands import COMMANDS

class Made: pass
class Slotted: __slots__ = ("value",)
derived = [type(f"Of{base.__name__}", (base,), {}) for base in
           (dict, list, set, frozenset, tuple, str, int, Exception, collections.OrderedDict)]

done = threading.Event()
def make():
    while not done.is_set():
        for cls in (Made, Slotted, *derived):
            kept = [cls() for _ in range(20)]
        Made.other = type("Fleeting", (Made,), {})()
        time.sleep(0.001)

pub, req = map(int, sys.argv[1:])
start_server(pub, req)
socket = zmq.Context.instance().socket(zmq.REQ)
socket.connect(f"tcp://127.0.0.1:{req}")
maker = threading.Thread(target=make, daemon=True)
maker.start()

def ask(command):
    socket.send_string(command)
    assert socket.poll(30000), command
    said = socket.recv()
    return "ok" if said == b"ok" else msgpack.unpackb(said, strict_map_key=False)

def answer(command):
    arguments = COMMANDS[command].arguments
    least = len(arguments) - COMMANDS[command].optional
    values = {"id": str(snapshot), "n": "0", "usec": "500", "pattern": "*", "on|off": "on", "cursor": "0"}
    return ask(" ".join([command, *(values[argument.name] for argument in arguments[:max(least, 1)])]))

native = ask("handshake")[2]["native"]
told = ask("trace_objects *.Made collections.OrderedDict")
snapshot = ask("snapshot_start")["id"]
for round in range(2):  # a second time with everything on
    for command in COMMANDS:
        if command != "goodbye":
            said = answer(command)
            assert not isinstance(said, dict) or said.get("error") in (None, "not_applicable"), (command, said)
            snapshot = said["id"] if command == "snapshot_start" else snapshot
            time.sleep(0.02)
answer("goodbye")
done.set()
maker.join()
socket.close()
stop_server()
print(told["mechanism"], "|", told["note"], "|", native)
"""


@pytest.mark.smoke
def test_every_command_leaves_the_process_alive_and_says_what_it_does() -> None:
    said = python(EVERY_COMMAND, arguments=[str(port) for port in (free_port(), free_port())])
    mechanism, note, sampler = said.strip("\n").split(" | ")
    if extension("_trace").RELEASE:
        assert mechanism in {"hooks", "references"}
        assert "tested" not in note
        assert sampler == "yes"
        return
    assert mechanism == "weak references"
    for sentence in (note, sampler):
        assert "(tested on CPython 3.11." in sentence
        assert f" or later patch releases of these, and this is {platform.python_version()})" in sentence
    assert sampler.startswith("yes: with public functions alone")


STRANGE_EVENTS = """
import ctypes
from rbkit_websocket.native.loader import extension

trace = extension("_trace")
trace.start(trace.REFERENCES, ("*",), 64, False)
data = ctypes.c_void_p()
of = ctypes.pythonapi.PyRefTracer_GetTracer
of.restype, of.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
tracer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(of(ctypes.byref(data)))
something = object()
trace.counts()
for event in range(10):
    assert tracer(None, event, None) == 0
for event in range(2, 10):
    assert tracer(id(something), event, None) == 0
trace.stop()
print("alive")
"""


@pytest.mark.skipif(not references, reason="no reference tracer is used here")
def test_the_reference_tracer_takes_events_that_it_does_not_know() -> None:
    assert python(STRANGE_EVENTS) == "alive\n"
