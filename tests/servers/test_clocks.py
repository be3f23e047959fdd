"""The application stops its clocks; everything of ours goes on, in real time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.rawclient import PING, RawClient
from support.servers import SERVERS, TOKEN, WebServer
from support.waiting import scaled, wait_until

from rbkit_websocket import connect
from rbkit_websocket.client import Client

pytestmark = pytest.mark.long

WAYS = [
    *((when, "freezegun") for when in ("early", "late", "running")),
    ("late", "time_machine"),
    ("running", "time_machine"),
    ("early", "mock"),
    ("running", "mock"),
]


ways = pytest.mark.parametrize(("when", "how"), WAYS, ids=map("-".join, WAYS))


@contextmanager
def stopped(when: str, how: str, **env: str) -> Iterator[WebServer]:
    """A server whose clocks stand still."""
    if how != "mock":
        pytest.importorskip(how)
    env = {"TEST_CLOCKS": when, "TEST_STOPPED_BY": how, **env}
    # gunicorn itself takes a worker whose clock stands still for one that hangs.
    with SERVERS["gunicorn-gevent"]("support.clocks:application()", env=env, options=["--timeout", "0"]) as server:
        server.get("/hello")
        if when == "running":
            server.get("/stop")
        yield server


def session(web: WebServer) -> Client:
    return connect(f"{web.url('/', scheme='http')}#token={TOKEN}", timeout=scaled(20))


def now(client: Client, command: str) -> dict[Any, Any]:
    """The answer to a command, whose time must be the real one."""
    answer = client.command(command)
    assert isinstance(answer, dict)
    assert abs(answer["timestamp"] / 1000 - time.time()) < scaled(60)
    return answer


@ways
def test_everything_goes_on_when_the_applications_clocks_stand_still(when: str, how: str) -> None:
    with stopped(when, how) as web, session(web) as client:
        assert client.handshake()["pid"] == web.worker_pids()[0]
        # A snapshot is made in slices of time, and pulled.
        assert sum(map(len, client.snapshot())) > 1000
        now(client, "stacks")
        # Samples are handed out once, by seconds that pass.
        client.command("start_cpu_polling")
        first = client.command("cpu_profile")
        web.get("/block", seconds="0.3")

        def later() -> bool:
            answer = client.command(f"cpu_profile {first['cursor']}")
            return answer["samples"] > 0 and answer["until"] > first["until"]

        wait_until(later, "more samples")
        # A block of the loop is timed.
        client.command("blocked")
        web.get("/block", seconds="0.5")
        blocked = wait_until(lambda: found if (found := client.command("blocked"))["count"] else None, "the block")
        assert 0.2 < blocked["longest"] < scaled(10)
        # Memory is counted every second.
        client.command("start_memory_profile")
        counted = now(client, "memory_profile")["timestamp"]
        wait_until(lambda: client.command("memory_profile")["timestamp"] > counted, "a later count")
        listed = json.loads(web.get("/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"}))["servers"]
        assert abs(listed[0]["started"] - time.time()) < scaled(60)


@ways
def test_a_client_that_says_nothing_is_pinged_and_closed(when: str, how: str) -> None:
    with stopped(when, how, RBKIT_PING_INTERVAL="0.2") as web, RawClient(web.port) as silent:
        silent.upgrade("/", extra=(("Authorization", f"Bearer {TOKEN}"),))
        assert silent.frame().opcode == PING
        while (frame := silent.frame()).opcode == PING:
            pass
        assert frame.close_code == 1011
