"""What the extensions may do beyond the interpreter's public functions: only on versions that the tests have run on."""

from __future__ import annotations

import platform
import sys

import pytest
from support.native import native, python
from support.ports import free_port
from support.tracing import MECHANISMS

from rbkit_websocket.native.loader import extension

pytestmark = native

references = MECHANISMS and extension("_trace").REFERENCES in MECHANISMS
FINAL = sys.version_info.releaselevel == "final"
TESTED = (3, 11) <= sys.version_info[:2] <= (3, 13) and FINAL


def test_private_ways_are_open_on_tested_versions_alone() -> None:
    from rbkit_websocket.native import _heap

    trace = extension("_trace")
    by_behaviour = (trace.CAN_HOOK, trace.CAN_REFTRACE)
    by_layout = (bool(trace.CAN_COUNT), extension("_native").status()["walk"] == "internal", _heap.ROOTS == "lists")
    if trace.TESTED:
        assert TESTED
        assert by_behaviour == (1, sys.version_info >= (3, 13))
        same = platform.python_version() == trace.BUILT_FOR
        assert by_layout == ((True, True, True) if same else (False, False, False))
        assert extension("_native").needs_signal() == (sys.version_info < (3, 13) and not same)
    else:
        assert by_behaviour == (0, 0)
        assert by_layout == (False, False, False)
        assert not extension("_native").use_internal_walk(True)
        for mechanism in (trace.HOOKS, trace.REFERENCES):
            with pytest.raises(RuntimeError, match="does not work here"):
                trace.start(mechanism, ("*",), 64, False)


EVERY_COMMAND = """
import sys, time
import msgpack, zmq
from rbkit_websocket import start_server, stop_server

class Made:
    pass

pub, req = map(int, sys.argv[1:])
start_server(pub, req)
socket = zmq.Context.instance().socket(zmq.REQ)
socket.connect(f"tcp://127.0.0.1:{req}")

def ask(command):
    socket.send_string(command)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        Made(), [], {}
    return socket.recv()

told = msgpack.unpackb(ask("trace_objects *.Made collections.OrderedDict"))
for command in ("start_memory_profile", "memory_profile", "start_cpu_polling", "cpu_profile", "use_wall_time", "stacks",
                "wait_profile on", "gc_stats", "objectspace_snapshot", "trace_objects *", "trace_objects", "blocked"):
    ask(command)
socket.close()
stop_server()
print(told["mechanism"], "|", told["note"])
"""


def test_every_command_leaves_the_process_alive_and_says_what_it_does() -> None:
    said = python(EVERY_COMMAND, arguments=[str(port) for port in (free_port(), free_port())])
    mechanism, note = said.strip("\n").split(" | ")
    if extension("_trace").TESTED:
        assert mechanism in {"hooks", "references"}
        assert "tested" not in note
    else:
        assert mechanism == "weak references"
        assert f"(tested on CPython 3.11 to 3.13, and this is {platform.python_version()})" in note


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
