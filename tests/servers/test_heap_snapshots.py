"""Heap snapshots of real workers: an event loop or threads, forked before or after the application was loaded."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.embeddedpeer import Peer
from support.servers import SERVERS, THREADED, TOKEN, WebServer, alive
from support.waiting import wait_until

import rbkit_websocket
from rbkit_websocket.client import Client
from rbkit_websocket.errors import CommandFailed
from rbkit_websocket.model import Heap, diff
from rbkit_websocket.profilers.heap import snapshot
from rbkit_websocket.protocol.constants import EventType

WORKERS = {"gevent": SERVERS["gunicorn-gevent"], "gthread": THREADED["gunicorn-gthread"]}

needs_native = pytest.mark.skipif(snapshot.native is None, reason="the extension module _heap has not been built")
loaded = pytest.mark.parametrize("preload", [False, True], ids=["loaded-by-the-worker", "preload"])


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in directory.glob("*.json")]


@contextmanager
def connected(web: WebServer) -> Iterator[Client]:
    with rbkit_websocket.connect(web.url("/"), token=TOKEN) as client:
        yield client


@loaded
@pytest.mark.parametrize("worker", sorted(WORKERS))
def test_a_leak_is_found_in_a_worker(worker: str, preload: bool) -> None:
    with WORKERS[worker](preload=preload) as web:
        for _ in range(3):
            web.get("/leak", count="500")
        record = wait_until(lambda: records(web.runtime_dir), "the record")[0]
        assert record["pid"] == web.worker_pids()[0]
        process = psutil.Process(record["pid"])
        with Peer.at(record["endpoint"]) as peer:
            kinds: dict[str, int] = {}
            begun = peer.map("snapshot_start")
            assert begun["method"] == ("python" if snapshot.native is None else "fork")
            facts = wait_until(
                lambda: (now := peer.map("snapshot_status 1"))["state"] != "running" and now, "the snapshot", timeout=60
            )
            assert facts["state"] == "done"
            web.get("/leak", count="0")
            for number in range(facts["chunks"]):
                for item in peer.map(f"snapshot_chunk 1 {number}")["objects"]:
                    kinds[item[4]] = kinds.get(item[4], 0) + 1
            assert sum(kinds.values()) == facts["objects"]
            assert kinds["support.apps.Leaked"] == 1500
            wait_until(lambda: process.children() == [], "the child to be reaped")


@loaded
def test_two_snapshots_of_a_django_site_show_what_leaks_and_what_keeps_it(preload: bool) -> None:
    with SERVERS["gunicorn-gevent"]("django", preload=preload) as web, connected(web) as client:

        def taken() -> Heap:
            client.command("trigger_gc")
            return Heap(client.snapshot())

        for _ in range(5):
            web.get("/leak", count="0")  # what a site makes once, it has made now
        before = taken()
        for _ in range(20):
            web.get("/leak", count="50")
            web.get("/hello")
        after = taken()
        worst = max(diff(before, after), key=lambda growth: growth.count if "." in growth.class_name else 0)
        assert (worst.class_name, worst.count, worst.now.count) == ("support.apps.Leaked", 1000, 1000)
        assert worst.size >= 1000 * 32
        assert worst in diff(before, after)[:5]
        path = after.path(after.of_class(worst.class_name)[-1])
        assert [step.class_name for step in path] == ["module", "dict", "list", "support.apps.Leaked"]
        assert (path[0].file or "").endswith("support/apps.py")


def test_the_client_pulls_a_snapshot_with_progress() -> None:
    with SERVERS["gunicorn-gevent"]() as web, connected(web) as client:
        seen: list[tuple[int, int | None]] = []
        objects = [item for chunk in client.snapshot(lambda *state: seen.append(state)) for item in chunk]
        assert seen[-1] == (len(objects), len(objects))
        assert len({item["object_id"] for item in objects}) == len(objects)
        assert any(item["class_name"] == "function" and item.get("file") and item.get("line") for item in objects)


def test_the_standard_command_sends_all_of_it_at_the_rate_that_is_set() -> None:
    rate = 4_000_000
    with (
        SERVERS["gunicorn-gevent"]("django", preload=True, env={"RBKIT_SNAPSHOT_RATE": str(rate)}) as web,
        connected(web) as client,
    ):
        web.get("/leak", count="700")
        began = time.monotonic()
        answer = client.command("objectspace_snapshot", timeout=60)
        took = time.monotonic() - began
        assert answer == b"ok"
        facts = client.command("snapshot_status 1")
        assert isinstance(facts, dict)
        ids: set[int] = set()
        objects = total = leaked = 0
        for event in client.events(30, {EventType.OBJECT_SPACE_DUMP}):
            assert len(event.payload) <= 1000
            objects += len(event.payload)
            ids.update(item["object_id"] for item in event.payload)
            leaked += sum(item["class_name"] == "support.apps.Leaked" for item in event.payload)
            total = event.extra["complete_message_count"]
            if objects >= total:
                break
        assert (objects, len(ids), client.lost, client.dropped) == (total, total, 0, 0)
        assert leaked == 700
        assert objects == facts["objects"]
        assert took > 0.8 * facts["bytes"] / rate


@needs_native
def test_where_a_limit_leaves_no_room_it_is_refused_and_the_worker_goes_on() -> None:
    with SERVERS["gunicorn-gevent"]() as web, connected(web) as client:
        client.handshake()
        worker = psutil.Process(web.worker_pids()[0])
        room = worker.memory_info().vms + (8 << 20)
        worker.rlimit(psutil.RLIMIT_AS, (room, psutil.RLIM_INFINITY))
        with pytest.raises(CommandFailed, match=r"no room for a snapshot: RLIMIT_AS leaves .* MiB, .* MiB are needed"):
            next(client.snapshot())
        with pytest.raises(CommandFailed, match="RLIMIT_AS leaves"):
            client.command("objectspace_snapshot")
        assert web.get("/hello")
        worker.rlimit(psutil.RLIMIT_AS, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
        assert next(client.snapshot())


@needs_native
@pytest.mark.parametrize("worker", sorted(WORKERS))
def test_without_fork_the_worker_makes_it_itself_or_says_that_it_may_not(worker: str) -> None:
    for pause in ("1", "0"):
        env = {"RBKIT_SNAPSHOT_FORK": "0", "RBKIT_SNAPSHOT_PAUSE": pause}
        with WORKERS[worker](env=env) as web:
            web.get("/leak", count="300")
            record = wait_until(lambda: records(web.runtime_dir), "the record")[0]
            with Peer.at(record["endpoint"]) as peer:
                begun = peer.map("snapshot_start")
                if pause == "0":
                    assert begun["error"] == "refused"
                    assert "snapshot_fork is off" in begun["message"]
                    assert "snapshot_pause is off" in begun["message"]
                    continue
                assert (begun["method"], begun["why"]) == ("in-process", "snapshot_fork is off")
                facts = wait_until(
                    lambda: (now := peer.map("snapshot_status 1"))["state"] != "running" and now, "the snapshot"
                )
                assert facts["pause_ms"] > 0
                names = [
                    item[4] for n in range(facts["chunks"]) for item in peer.map(f"snapshot_chunk 1 {n}")["objects"]
                ]
                assert names.count("support.apps.Leaked") == 300


@needs_native
@pytest.mark.parametrize("worker", sorted(WORKERS))
def test_a_child_ends_with_its_worker(worker: str) -> None:
    with WORKERS[worker](check_log=False) as web:
        web.get("/leak", count="300000")  # so that the child has something to do
        record = wait_until(lambda: records(web.runtime_dir), "the record")[0]
        with Peer.at(record["endpoint"]) as peer:
            assert peer.map("snapshot_start")["method"] == "fork"
            process = psutil.Process(record["pid"])
            (child,) = process.children()
            process.kill()
        wait_until(lambda: not alive(child.pid), "the child to end")
        web.kill()  # at once: the master is about to start another worker
