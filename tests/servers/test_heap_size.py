"""A large heap through an embedded server: all of it arrives, and the process that serves it hardly grows.

``RBKIT_TEST_HEAP_OBJECTS=2000000`` makes it as large as it takes; by default it is smaller, to be quick.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.embeddedpeer import Peer
from support.waiting import scaled, wait_until

from rbkit_websocket.profilers.heap import snapshot

OBJECTS = int(os.environ.get("RBKIT_TEST_HEAP_OBJECTS", "300000"))
MOST_GROWTH = 100 << 20

PROGRAM = """
import sys, threading, time
from rbkit_websocket.server import Server

class Node:
    def __init__(self, number):
        self.number = number + 10**6
        self.name = f"node {number}"
        self.others = []

nodes = [Node(number) for number in range(int(sys.argv[2]))]
server = Server([f"ipc://{sys.argv[1]}/pub"], [f"ipc://{sys.argv[1]}/req"], snapshot_rate=8_000_000)
server.start()
print("ready", flush=True)
for line in sys.stdin:
    while not server.audience():
        time.sleep(0.01)
    print("heard", flush=True)
server.stop()
"""


@contextmanager
def serving(directory: Path) -> Iterator[Any]:
    """A process with that many objects and a server, which answers a line when somebody has subscribed."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory), str(OBJECTS // 4)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=directory,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.stdin.close()
        process.wait(scaled(20))
        process.stdout.close()


def memory(pid: int, field: str) -> int:
    """Bytes, of /proc/<pid>/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def forget_peak(pid: int) -> int:
    """The memory it has now, which is its peak from here on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return memory(pid, "VmRSS")


@pytest.mark.skipif(snapshot.native is None, reason="the extension module _heap has not been built")
@pytest.mark.timeout(300)
def test_every_object_arrives_once_and_the_process_hardly_grows(tmp_path: Path) -> None:
    with serving(tmp_path) as process, Peer(f"ipc://{tmp_path}/pub", f"ipc://{tmp_path}/req") as peer:
        peer.handshake()
        before = forget_peak(process.pid)
        assert peer.map("snapshot_start")["method"] == "fork"
        facts = wait_until(
            lambda: (now := peer.map("snapshot_status 1"))["state"] != "running" and now, "the snapshot", timeout=60
        )
        assert facts["state"] == "done", facts
        ids: set[int] = set()
        nodes = 0
        for number in range(facts["chunks"]):
            for item in peer.map(f"snapshot_chunk 1 {number}")["objects"]:
                ids.add(item[3])
                nodes += item[4] == "__main__.Node"
        assert len(ids) == facts["objects"] >= OBJECTS
        assert nodes == OBJECTS // 4
        assert memory(process.pid, "VmHWM") - before < MOST_GROWTH


@pytest.mark.skipif(snapshot.native is None, reason="the extension module _heap has not been built")
@pytest.mark.timeout(300)
def test_every_object_is_published_once_and_the_process_hardly_grows(tmp_path: Path) -> None:
    with serving(tmp_path) as process, Peer(f"ipc://{tmp_path}/pub", f"ipc://{tmp_path}/req") as peer:
        peer.subscribe()
        process.stdin.write("subscribed\n")
        process.stdin.flush()
        assert process.stdout.readline() == "heard\n"
        before = forget_peak(process.pid)
        peer.req.send(b"objectspace_snapshot")
        ids: set[int] = set()
        total: Any = None
        counters: list[int] = []
        for message in peer.messages(60):
            counters.append(message[9])
            for event in message[2]:
                assert total in (None, event[11])
                total = event[11]
                ids.update(item[3] for item in event[2])
            if len(ids) == total:
                break
        assert peer.req.recv() == b"ok"
        assert total >= OBJECTS
        assert counters == list(range(counters[0], counters[0] + len(counters)))
        assert memory(process.pid, "VmHWM") - before < MOST_GROWTH
