"""memory_profile, trace_objects and the object events of a real server, on the wire."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.embeddedpeer import Peer
from support.hubs import without_hub
from support.native import python
from support.tracing import native
from support.waiting import scaled, wait_until

from rbkit_websocket.profilers.process.gcstats import KEYS
from rbkit_websocket.server import Server

CREATED, DESTROYED, SNAPSHOT = 0, 1, 5
HERE = __name__
PEER = "abc"


class Thing:
    pass


class Listed(list[Any]):
    __module__ = "aside"  # not among those that HERE.* names


@pytest.fixture
def linger() -> float:
    """Seconds after which what nobody asks for ends: more than the pauses of a collector in a big process add up to."""
    return scaled(30)


@pytest.fixture(params=["native", "python"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, linger: float) -> Iterator[Server]:
    without_hub()  # one that nobody runs delays every census by the second after which the server does its work
    if request.param == "python":
        monkeypatch.setenv("RBKIT_NATIVE", "0")
    directory = tempfile.mkdtemp(prefix="rbm", dir="/tmp")
    server = Server([f"ipc://{directory}/pub"], [f"ipc://{directory}/req"], linger=linger)
    if request.param == "native" and server_without_extension():
        pytest.skip("no extension")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


def server_without_extension() -> bool:
    from support.tracing import REASON

    return bool(REASON)


@pytest.fixture
def exact(server: Server) -> Server:
    if server.profiling.memory.object_tracer.native is None:
        pytest.skip("weak references are not exact")
    return server


@pytest.fixture
def peer(server: Server) -> Iterator[Peer]:
    with Peer(server.pub_endpoints[0], server.req_endpoints[0]) as peer:
        yield peer


def rows(answer: dict[str, Any]) -> dict[str, list[Any]]:
    return {answer["names"][row[0]]: row[1:] for row in answer["classes"]}


@pytest.mark.smoke
def test_the_first_answer_has_everything(peer: Peer) -> None:
    kept = [Thing() for _ in range(321)]
    gc.collect()
    answer = peer.map("memory_profile")
    assert {key: type(value) for key, value in answer.items()} == {
        "cursor": int,
        "timestamp": float,
        "span_us": int,
        "running": bool,
        "names": list,
        "classes": list,
        "total_live": int,
        "census": dict,
        "collections": list,
        "sites": list,
        "gc": dict,
    }
    assert answer["span_us"] == 0
    assert answer["running"] is False
    assert rows(answer)[f"{HERE}.Thing"] == [len(kept), None, None, len(kept)]
    counts = [row[1] for row in answer["classes"]]
    assert counts == sorted(counts, reverse=True)
    assert answer["total_live"] >= sum(counts)
    assert abs(answer["census"]["at_ms"] - time.time() * 1000) < 60_000
    assert answer["census"]["took_us"] > 0
    assert answer["census"]["interval_us"] >= 1_000_000
    assert answer["census"]["method"]
    assert answer["gc"]["count"] > 0
    assert answer["sites"] == []


def test_collections_since_the_cursor(peer: Peer) -> None:
    first = peer.map("memory_profile")
    for _ in range(3):
        gc.collect()
    second = peer.map(f"memory_profile {first['cursor']}")
    assert second["span_us"] == second["cursor"] - first["cursor"] > 0
    full = [row for row in second["collections"] if row[1] == 2]
    assert len(full) >= 3
    stamp, generation, duration, collected, uncollectable = full[-1]
    assert abs(stamp - time.time() * 1000) < 60_000
    assert (generation, uncollectable) == (2, 0)
    assert duration > 0
    assert collected >= 0
    third = peer.map(f"memory_profile {second['cursor']}")
    assert not [row for row in third["collections"] if row[1] == 2]


@pytest.mark.parametrize("cursor", ["0", "7", "99999999999999999"])
def test_a_cursor_that_is_not_known(peer: Peer, cursor: str) -> None:
    answer = peer.map(f"memory_profile {cursor}")
    assert answer["span_us"] == 0
    assert answer["names"]


@pytest.mark.parametrize(
    "command",
    [
        "memory_profile x",
        "memory_profile 1 2",
        "memory_profile -1",
        "trace_objects a/b",
        "trace_objects ../x",
        "trace_objects " + "a" * 201,
        "trace_objects " + " ".join(["a"] * 51),
    ],
)
def test_arguments_that_make_no_sense_are_told(peer: Peer, command: str) -> None:
    answer = peer.map(command)
    assert answer["error"] == "bad_argument"
    assert answer["message"]


@pytest.mark.parametrize("linger", [scaled(0.5)], ids=["half a second"])
def test_it_ends_when_nobody_asks_any_more(server: Server, peer: Peer) -> None:
    peer.map("memory_profile")
    assert server.profiling.memory.census.on
    assert server.profiling.memory.gc.running
    wait_until(lambda: not server.profiling.on, "the census to end")
    assert not server.profiling.memory.census.on
    assert not server.profiling.memory.gc.running


def test_each_client_has_its_own_cursor(exact: Server, peer: Peer) -> None:
    peer.ask("start_memory_profile")
    one = peer.map("memory_profile")["cursor"]
    kept = [Thing() for _ in range(10)]
    two = peer.map("memory_profile")["cursor"]
    del kept[:4]
    kept += [Thing()]
    name = f"{HERE}.Thing"
    assert rows(peer.map(f"memory_profile {two}"))[name][1:3] == [1, 4]
    assert rows(peer.map(f"memory_profile {one}"))[name][1:3] == [11, 4]
    assert rows(peer.map(f"memory_profile {two}"))[name][1:3] == [1, 4], "asking again takes nothing away"
    assert {(row[2], row[3]) for row in peer.map("memory_profile")["classes"]} == {(None, None)}, "since nothing"


def test_classes_that_are_not_traced_are_not_claimed(exact: Server, peer: Peer) -> None:
    before = peer.map("memory_profile")["cursor"]
    answer = peer.map("trace_objects " + f"{HERE}.*")
    assert answer["patterns"] == [f"{HERE}.*"]
    assert answer["mechanism"] == "hooks"
    assert answer["complete"] is True
    Thing()
    found = rows(peer.map(f"memory_profile {before}"))
    assert found["dict"][1:3] == [None, None]
    assert found.get(f"{HERE}.Thing", [0, None, None, 0])[1:3] == [None, None], "tracing began after the cursor"


def test_places_are_told(exact: Server, peer: Peer) -> None:
    peer.map(f"trace_objects {HERE}.Thing")
    kept = [Thing() for _ in range(7)]
    line = test_places_are_told.__code__.co_firstlineno + 2
    answer = peer.map("memory_profile")
    assert answer["running"] is True
    places = [(answer["names"][name], file, where, count) for name, file, where, count in answer["sites"]]
    assert (f"{HERE}.Thing", __file__, line, len(kept)) in places
    del kept
    assert peer.map("memory_profile")["sites"] == []


def test_events_of_traced_objects_are_published(exact: Server, subscriber: Peer) -> None:
    subscriber.map(f"trace_objects {HERE}.Thing")
    thing = Thing()
    identity = id(thing)
    created = subscriber.event(lambda event: event[0] == CREATED)
    assert created[2] == {3: identity, 4: f"{HERE}.Thing"}
    assert abs(created[1] - time.time() * 1000) < 60_000
    del thing
    assert subscriber.event(lambda event: event[0] == DESTROYED)[2] == {3: identity}


@pytest.mark.small_heap
def test_a_plain_client_gets_pairs_at_a_bounded_rate(exact: Server, subscriber: Peer) -> None:
    subscriber.ask("start_memory_profile")
    until = time.monotonic() + 1.5
    made = 0
    while time.monotonic() < until:
        Thing()
        made += 1
    subscriber.ask("stop_memory_profile")
    subscriber.req.send(b"objectspace_snapshot")  # behind all pairs
    alive: set[int] = set()
    pairs = 0
    for event in (event for message in subscriber.messages() for event in message[2]):
        if event[0] == CREATED:
            assert event[2][3] not in alive
            alive.add(event[2][3])
        elif event[0] == DESTROYED:
            alive.remove(event[2][3])  # each has been created
            pairs += 1
        elif event[0] == SNAPSHOT:
            break
    assert made > 20_000
    assert 50 < pairs < 5000
    assert exact.profiling.memory.object_tracer.mechanism == "off"


def test_what_is_published_is_said(exact: Server, subscriber: Peer) -> None:
    assert "a part published" in subscriber.handshake()["object_trace"]
    subscriber.ask("start_memory_profile")
    deadline = time.monotonic() + 5
    while "one object in" not in subscriber.handshake()["object_trace"]:
        assert time.monotonic() < deadline
        [Thing() for _ in range(2000)]
    stats = exact.profiling.memory.stats()
    assert stats["objects_one_in"] > 1
    assert stats["objects_skipped"] > 0
    assert stats["objects_followed"] >= 0
    assert not [key for key in stats if key not in KEYS and key[:-1] + "0" not in KEYS], "documented"


def test_patterns_end_and_the_default_goes_on(exact: Server, peer: Peer) -> None:
    peer.ask("start_memory_profile")
    assert exact.profiling.memory.object_tracer.native.known > {f"{HERE}.Thing"}  # type: ignore[union-attr]
    peer.map(f"trace_objects {HERE}.Thing")
    assert exact.profiling.memory.object_tracer.native.known == {f"{HERE}.Thing"}  # type: ignore[union-attr]
    assert peer.map("trace_objects")["mechanism"] == "hooks"
    assert len(exact.profiling.memory.object_tracer.native.known) > 100  # type: ignore[union-attr]
    peer.ask("stop_memory_profile")
    assert peer.map("trace_objects") == {"patterns": [], "mechanism": "off", "complete": False, "note": ""}


def test_types_of_c_are_told_apart(exact: Server, peer: Peer) -> None:
    answer = peer.map("trace_objects dict")
    if answer["mechanism"] == "references":
        assert answer["complete"] is True
    else:
        assert answer["complete"] is False
        assert "not written in Python" in answer["note"]


def test_classes_that_hooks_do_not_reach_are_named_or_traced_by_references(exact: Server, peer: Peer) -> None:
    """From 3.14 on lists are freed past the classes that are derived from list."""
    by_hooks = sys.version_info < (3, 14)
    peer.ask("start_memory_profile")
    assert ("past its subclasses" in peer.handshake()["object_trace"]) is not by_hooks
    answer = peer.map("trace_objects aside.Listed")
    assert (answer["mechanism"], answer["complete"]) == ("hooks" if by_hooks else "references", True)
    cursor = peer.map("memory_profile")["cursor"]
    Listed()
    assert rows(peer.map(f"memory_profile {cursor}"))["aside.Listed"][1:3] == [1, 1]


def test_patterns_with_weak_references(server: Server, subscriber: Peer) -> None:
    if server.profiling.memory.object_tracer.native is not None:
        pytest.skip("the extension is there")
    answer = subscriber.map(f"trace_objects {HERE}.*")
    assert answer["mechanism"] == "weak references"
    assert answer["complete"] is False
    assert "RBKIT_NATIVE" in answer["note"]
    things: list[Thing] = []

    def published() -> list[Any]:
        # A collection may have no time left for them.
        things.append(Thing())
        gc.collect(0)
        return [event for message in subscriber.quiet(0.02) for event in message[2] if event[0] == CREATED]

    created = wait_until(published, "one that is followed")
    assert {event[2][4] for event in created} == {f"{HERE}.Thing"}
    assert {event[2][3] for event in created} <= set(map(id, things))
    assert "weak references" in subscriber.handshake()["object_trace"]


@pytest.mark.parametrize("linger", [0.5])
def test_tracing_ends_with_its_audience(exact: Server, subscriber: Peer) -> None:
    subscriber.map(f"trace_objects {HERE}.*")
    subscriber.unsubscribe()
    wait_until(lambda: not exact.profiling.memory.object_tracer.running, "the end of tracing")
    assert exact.profiling.memory.object_tracer.native is not None
    assert not exact.profiling.memory.object_tracer.native.running


@native
def test_a_forked_child_is_not_traced() -> None:
    program = """
import gc, os, sys, threading, time, warnings
warnings.simplefilter("ignore")
import rbkit_websocket
from rbkit_websocket.native import _trace as trace
class Thing: pass
server = rbkit_websocket.start_profiling(None, None, enable_cpu_profiling=False)
while not trace.status()["mechanism"]: time.sleep(0.01)
# Under load, so that it happens in all states of the server's thread.
for _ in range(30):
    kept = [Thing() for _ in range(1000)]
    pid = os.fork()
    if pid == 0:
        assert trace.status()["mechanism"] == 0
        assert gc.isenabled()
        kept = [Thing() for _ in range(1000)]
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert trace.status()["mechanism"] == 1
assert rbkit_websocket.stop_server()
assert trace.status()["mechanism"] == 0
print("fine")
"""
    assert python(program, env={"RBKIT_RUNTIME_DIR": os.devnull}) == "fine\n"
