"""The object tracer does the process no harm: leaks, forks, the end, other interpreters."""

from __future__ import annotations

import gc
import os
import resource
import sys

import pytest
from support.native import python
from support.tracing import MECHANISMS, native, told, traced

pytestmark = native
HERE = __name__


class Thing:
    pass


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_thousand_starts_and_stops_leave_nothing(mechanism: int) -> None:
    def cycles(number: int) -> None:
        for _ in range(number):
            among = [Thing, type]
            with traced(f"{HERE}.*", mechanism=mechanism, max_live=64, sites=True, among=among) as trace:
                kept = [Thing() for _ in range(10)]
                type("Passing", (Thing,), {"__module__": HERE})()
                trace.newborn()
                assert told()
                assert trace.sites()
                del kept
        gc.collect()

    cycles(50)
    references = [sys.getrefcount(thing) for thing in (Thing, type, cycles.__code__)]
    memory, blocks = resident(), sys.getallocatedblocks()
    cycles(1000)
    assert [sys.getrefcount(thing) for thing in (Thing, type, cycles.__code__)] == pytest.approx(references, abs=5)
    assert sys.getallocatedblocks() - blocks < 500
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # which keeps freed memory for a while
        assert resident() - memory < 3_000_000


PROGRAM = """
import gc, os, sys, threading
from rbkit_websocket.native import _trace as trace
class Thing:
    def __init__(self, other=None):
        self.other = other
    def __del__(self):
        Thing(len(str(self.other)))if False else None
class Special(dict):
    pass
trace.start({mechanism}, ("*",), 1 << 17, True)
def everyone(cls=object):
    yield cls
    for child in type.__subclasses__(cls):
        yield from everyone(child)
trace.add(list(everyone()))
kept = [Thing(Special(a=Thing())) for _ in range(100)]
ring = Thing(); ring.other = ring
"""


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize(
    "end",
    [
        "",
        "del kept[:50]; trace.stop(); del kept[:]",
        "sys.exit(0)",
        "os._exit(0)",
        "threading.Thread(target=lambda: [Thing() for _ in range(100000)], daemon=True).start()",
        "import atexit; atexit.register(trace.stop)",
        "sys.modules.clear()",
    ],
)
def test_the_process_ends_as_it_would(mechanism: int, end: str) -> None:
    python(PROGRAM.format(mechanism=mechanism) + end)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_fork_harms_neither_side(mechanism: int) -> None:
    program = PROGRAM.format(mechanism=mechanism) + (
        "\nimport warnings; warnings.simplefilter('ignore')\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    more = [Thing() for _ in range(10000)]; del more, kept[:10]\n"
        "    trace.stop()\n"
        "    more = [Thing() for _ in range(10000)]; del more, kept[:10]; gc.collect()\n"
        "    assert trace.drain(10) == []\n"
        "    sys.exit(0)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0\n"
        "trace.mute(True); trace.drain(1000000); trace.mute(False)\n"
        "kept.append(Thing())\n"
        "trace.mute(True)\n"
        "assert id(kept[-1]) in [event[1] for event in trace.drain(100000) if event[0]]\n"
        "print('both')\n"
    )
    assert python(program) == "both\n"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_other_interpreters_of_the_process_are_left_alone(mechanism: int) -> None:
    program = PROGRAM.format(mechanism=mechanism) + (
        "\ntry:\n"
        "    import _xxsubinterpreters as interpreters\n"
        "except ImportError:\n"
        "    import _interpreters as interpreters\n"
        "trace.drain(100000)\n"
        "other = interpreters.create()\n"
        "interpreters.run_string(other, 'class A: pass\\nfor _ in range(1000): A()\\nclass B(A): pass\\nB()')\n"
        "interpreters.destroy(other)\n"
        "names = trace.names(0)\n"
        "assert not any(name in ('__main__.A', '__main__.B') for name in names), names\n"
        "Thing()\n"
        "assert trace.drain(100000)\n"
        "print('alone')\n"
    )
    assert python(program) == "alone\n"


def test_deeply_nested_objects_are_freed_without_a_deep_stack() -> None:
    class Link:
        def __init__(self, next_one: object) -> None:
            self.next_one = next_one

    with traced(f"{HERE}.*", max_live=1 << 18):
        chain: object = None
        for _ in range(100_000):
            chain = Link(chain)
        del chain
        assert sum(1 for event in told() if not event.created) == 100_000
