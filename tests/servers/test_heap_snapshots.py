"""Heap snapshots of real workers: an event loop or threads, forked before or after the application was loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.embeddedpeer import Peer
from support.servers import SERVERS, TOKEN, UNSUPPORTED
from support.waiting import wait_until

import rbkit_websocket
from rbkit_websocket.profilers import snapshot

WORKERS = {"gevent": SERVERS["gunicorn-gevent"], "gthread": UNSUPPORTED["gunicorn-gthread"]}


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in directory.glob("*.json")]


@pytest.mark.parametrize("preload", [False, True], ids=["loaded-by-the-worker", "preload"])
@pytest.mark.parametrize("worker", sorted(WORKERS))
def test_a_leak_is_found_in_a_worker(worker: str, preload: bool) -> None:
    with WORKERS[worker](preload=preload) as web:
        for _ in range(3):
            web.get("/leak", count="500")
        record = wait_until(lambda: records(web.runtime_dir), "the record")[0]
        assert record["pid"] == web.worker_pids()[0]
        process = psutil.Process(record["pid"])
        with Peer(record["pub_endpoint"], record["req_endpoint"]) as peer:
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


def test_the_client_pulls_a_snapshot_with_progress() -> None:
    with SERVERS["gunicorn-gevent"]() as web, rbkit_websocket.connect(web.url("/"), token=TOKEN) as client:
        seen: list[tuple[int, int | None]] = []
        objects = [item for chunk in client.snapshot(lambda *state: seen.append(state)) for item in chunk]
        assert seen[-1] == (len(objects), len(objects))
        assert len({item["object_id"] for item in objects}) == len(objects)
        assert any(item["class_name"] == "function" and item["file"] and item["line"] for item in objects)
