"""What the embedded server sends, as the original browser client and the desktop client make it out."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
from support.embeddedpeer import Peer, unpack
from support.oldclients import desktop_objects, read_in_browser
from support.waiting import scaled, wait_until

from rbkit_websocket.profilers.heap import snapshot
from rbkit_websocket.protocol.codec import figure, pack
from rbkit_websocket.server import Server

needs_native = pytest.mark.skipif(snapshot.native is None, reason="the extension module _heap has not been built")
METHODS = [
    pytest.param("fork", marks=needs_native),
    pytest.param("in-process", marks=needs_native),
    "python",
]


@contextmanager
def watched(**options: Any) -> Iterator[Peer]:
    """A subscribed client of a server with these options."""
    with tempfile.TemporaryDirectory(prefix="rbo", dir="/tmp") as directory:
        endpoints = f"ipc://{directory}/pub", f"ipc://{directory}/req"
        server = Server([endpoints[0]], [endpoints[1]], snapshot_rate=10**9, **options)
        server.start()
        try:
            with Peer(*endpoints) as peer:
                peer.subscribe()
                wait_until(server.audience, "the subscription")
                yield peer
        finally:
            server.stop()


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, float("inf"), float("-inf"), float("nan")])
def test_the_browser_client_stumbles_over_such_a_double(value: float) -> None:
    with pytest.raises(ValueError, match="left over"):
        read_in_browser(pack({"ms": value}))
    assert read_in_browser(pack({"ms": figure(value)})) in ({b"ms": 0}, {b"ms": None})


@pytest.mark.parametrize("value", [0, 7, 1 << 40, 0.25, 1234.5, 3.0, -2.5, 1e300])
def test_other_figures_are_what_they_were(value: float) -> None:
    assert figure(value) == value
    assert read_in_browser(pack({"ms": figure(value)})) == {b"ms": value}


def test_the_browser_client_reads_everything_that_is_published() -> None:
    wanted = {5, 6, 9}
    spent = None
    gc.collect()
    gc.disable()  # so that collections took no time at all
    try:
        with watched() as peer:
            for command in ("start_memory_profile", "use_wall_time", "start_cpu_profiling", "objectspace_snapshot"):
                peer.ask(command)
            deadline = time.monotonic() + scaled(60)
            while wanted:
                assert time.monotonic() < deadline, f"no events of the types {wanted}"
                if not peer.sub.poll(100):
                    continue
                message = peer.sub.recv()
                assert read_in_browser(message) == msgpack.unpackb(message, raw=True, strict_map_key=False)
                for event in unpack(message)[2]:
                    wanted.discard(event[0])
                    if event[0] == 6:
                        spent = event[2]["gc_time_ms"]
            assert read_in_browser(peer.ask("handshake"))[2][b"language"] == b"python"
    finally:
        gc.enable()
    assert isinstance(spent, int)
    assert spent == 0


class Sized:
    """Known to have this size, and no place of its own."""


NAMELESS = eval('type("Nameless", (), {})', {})  # made where there is no __name__, so that it has no __module__


@pytest.mark.small_heap
@pytest.mark.parametrize("method", METHODS)
def test_the_desktop_client_reads_the_size_of_every_object(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if method == "python":
        monkeypatch.setattr(snapshot, "native", None)
    kept = [Sized(), NAMELESS(), Sized, len, sys, (number for number in [1]), compile("1", "x", "eval")]
    with watched(snapshot_fork=method == "fork") as peer:
        number = peer.map("snapshot_start")["id"]

        def finished() -> Any:
            facts = peer.map(f"snapshot_status {number}")
            return facts["state"] != "running" and facts

        facts = wait_until(finished, "the snapshot", timeout=60)
        assert facts["method"] == method
        known = set(map(id, kept))

        def some(objects: list[dict[int, Any]]) -> list[dict[int, Any]]:
            """A part of them and the known ones; to keep all would make the next dump many times as large."""
            return [*objects[::20], *(item for item in objects if item[3] in known)]

        pulled: list[dict[int, Any]] = []
        for chunk in range(facts["chunks"]):
            pulled += some(peer.map(f"snapshot_chunk {number} {chunk}")["objects"])
        peer.req.send(b"objectspace_snapshot")
        published: list[dict[int, Any]] = []
        count = 0
        for message in peer.messages(30):
            (event,) = message[2]
            published += some(event[2])
            count += len(event[2])
            if count == event[11]:
                break
        peer.req.recv()
    for objects in (pulled, published):
        seen = {item[3]: item for item in desktop_objects(b"".join(map(pack, objects)))}
        assert seen == {item[3]: item for item in objects}, "nothing of any object is behind a nil"
        for one in kept:
            assert seen[id(one)][8] == sys.getsizeof(one)
        assert seen[id(kept[0])][4] == f"{__name__}.Sized"
        assert 4 not in seen[id(kept[1])], "a class that hides its name"
