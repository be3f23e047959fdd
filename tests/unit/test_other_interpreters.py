"""A process with interpreters that have a lock of their own: it lives, and the answers say what they leave out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.embeddedpeer import Peer
from support.native import REASON
from support.ports import free_port
from support.program import run
from support.waiting import scaled, wait_until

from rbkit_websocket.protocol.constants import EventType

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters share their lock before Python 3.12")

PROGRAM = """
import sys, threading
import gevent
from rbkit_websocket import start_server, stop_server
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

BUSY = '''
import time
def dive(depth):
    return dive(depth - 1) if depth else 0
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    dive(30)
'''

def long():
    one = interpreters.create()
    interpreters.run_string(one, BUSY.format(seconds=seconds))
    interpreters.destroy(one)

def short():  # made and ended all the time
    while not over:
        one = interpreters.create()
        interpreters.run_string(one, BUSY.format(seconds=0.02))
        interpreters.destroy(one)

pub, req, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
over = False
with_others = sys.argv[4] == "others"
workers = [threading.Thread(target=work) for work in (long, long, short)] if with_others else []
for worker in workers:
    worker.start()
gevent.sleep(0)  # its loop is watched
start_server(pub, req)
print("ready", flush=True)

def work():
    while not over:
        sum(range(20000))
        gevent.sleep(0.001)

greenlets = [gevent.spawn(work) for _ in range(5)]
gevent.get_hub().threadpool.apply(sys.stdin.readline)
over = True
gevent.joinall(greenlets)
stop_server()
for worker in workers:
    worker.join()
print("done", flush=True)
"""

COMMANDS = (
    "stacks",
    "blocked",
    "status",
    "start_cpu_polling",
    "cpu_profile",
    "use_wall_time",
    "wait_profile on",
    "start_memory_profile",
    "memory_profile",
    "trace_objects *",
    "objectspace_snapshot",
    "handshake",
    "cpu_profile",
)


@contextmanager
def running(native: str, others: str) -> Iterator[Peer]:
    """A peer of a program that is alive at the end."""
    pub, req = free_port(), free_port()
    seconds = scaled(3)
    with tempfile.TemporaryDirectory() as elsewhere:
        program = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", PROGRAM, str(pub), str(req), str(seconds), others],
            cwd=elsewhere,
            env={**os.environ, "RBKIT_NATIVE": native},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert program.stdout is not None
    try:
        assert program.stdout.readline() == "ready\n"
        with Peer(f"tcp://127.0.0.1:{pub}", f"tcp://127.0.0.1:{req}") as peer:
            yield peer
        out, said = program.communicate("\n", timeout=scaled(60))
        assert (program.returncode, out) == (0, "done\n"), said
    finally:
        if program.poll() is None:
            program.kill()
            print(program.communicate()[1])


WAYS = ["0"] if REASON else ["1", "0"]


@pytest.mark.smoke
@pytest.mark.parametrize("native", WAYS, ids={"1": "native", "0": "python"}.get)
def test_every_command_beside_busy_interpreters(native: str) -> None:
    with running(native, "others") as peer:
        until = time.monotonic() + scaled(1.5)
        while time.monotonic() < until:
            for command in COMMANDS:
                assert peer.ask(command)
        stacks, profile = peer.map("stacks"), peer.map("cpu_profile")
        stats = peer.subscribe().event(lambda event: event[0] == EventType.GC_STATS)[2]
        assert "allocated_blocks" not in stats
        unseen = "there are other interpreters in this process, whose threads are not seen"
        if native == "0":
            unseen += "; nor are those of this one, for which the C extension is needed meanwhile"
            assert (stacks["threads"], profile["stacks"]) == ([], [])
            assert "threads" not in stats
        else:
            assert {"MainThread"} <= {thread["name"] for thread in stacks["threads"]}
            assert profile["stacks"]
            assert stats["threads"] >= 1
            assert not any(entry[0] == "dive" for thread in stacks["threads"] for entry in thread["stack"])
        blocked = peer.map("blocked")
        assert stacks["unseen"] == profile["unseen"] == blocked["unseen"] == unseen
        assert blocked["now"] is None, "the loop turns"


@pytest.mark.parametrize("native", WAYS, ids={"1": "native", "0": "python"}.get)
def test_alone_everything_is_seen(native: str) -> None:
    with running(native, "alone") as peer:
        peer.ask("start_memory_profile")
        peer.ask("start_cpu_polling")
        wait_until(lambda: peer.map("cpu_profile")["stacks"], "samples")
        stacks = peer.map("stacks")
        assert stacks["unseen"] is None
        assert {"MainThread"} <= {thread["name"] for thread in stacks["threads"]}
        stats = peer.subscribe().event(lambda event: event[0] == EventType.GC_STATS)[2]
        assert stats["threads"] >= 1
        assert stats["allocated_blocks"] > 1000


APPLICATION = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

failed = interpreters.run_string(interpreters.create(), '''
from rbkit_websocket import RbkitWebsocket
application = RbkitWebsocket(lambda environ, start_response: [b"hello"])
for _ in range(2):
    print(*application({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, print), flush=True)
''')
assert not failed, failed
print("done", flush=True)
"""


def test_an_application_in_such_an_interpreter_runs_on_unwatched(runtime_dir: Path) -> None:
    result = run(APPLICATION)
    assert result.stdout.split() == ["b'hello'", "b'hello'", "done"], result.stderr
    assert "could not start. The application runs on, but cannot be watched" in result.stderr
