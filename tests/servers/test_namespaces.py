"""Containers that share a runtime directory: pid namespaces stand for them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import gunicorn_started
from support.cliprocess import running
from support.embeddedpeer import Peer
from support.rawclient import connect_rbkit
from support.servers import TOKEN, WebServer
from support.standin import StandIn
from support.waiting import wait_until

from rbkit_websocket import connect
from rbkit_websocket.protocol.messages import decode_answer

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

WORKER = """
import json, os, sys
from rbkit_websocket.fleet import records
from rbkit_websocket.options.table import Settings
from rbkit_websocket.server import ensure_embedded
settings = Settings(name="shop")
endpoints = ensure_embedded(settings)
print(json.dumps([endpoints.id, os.getpid()]), flush=True)
for _ in sys.stdin:
    found = records.listing(records.runtime_directory(), "shop")
    records.sweep(records.runtime_directory())
    print(json.dumps([record.id for record in found]), flush=True)
"""


def possible() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*CONTAINER, "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not possible(), reason="needs unshare(1) and the right to make pid namespaces (root)")


class Container:
    """A process with an embedded server, in a pid namespace of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [*CONTAINER, sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.id, self.pid = self._read()

    def _read(self) -> Any:
        return json.loads(self._process.stdout.readline())

    def listing(self) -> list[str]:
        """The ids that it lists, after which it sweeps."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self._process.kill()  # --kill-child ends what is inside
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@contextmanager
def containers(count: int) -> Iterator[list[Container]]:
    found: list[Container] = []
    try:
        found.extend(Container() for _ in range(count))
        yield found
    finally:
        for container in found:
            container.end()


def test_containers_that_share_a_directory_list_and_reach_each_other(runtime_dir: Path) -> None:
    with containers(3) as (one, two, three):
        everybody = {one.id, two.id, three.id}
        assert {container.pid for container in (one, two, three)} == {1}
        for _ in range(2):
            for container in (one, two, three):
                assert set(container.listing()) == everybody
        assert len(list(runtime_dir.iterdir())) == 6
        for path in runtime_dir.glob("*.sock"):
            with Peer.at(f"unix://{path}") as peer:
                assert peer.handshake()["server_id"] in everybody
        three.end(kill=True)
        wait_until(lambda: set(one.listing()) == {one.id, two.id}, "the killed one to leave the list", timeout=2)
        left = [path.name for path in runtime_dir.iterdir()]
        assert len(left) == 4
        assert not any(three.id in name for name in left)
    assert not list(runtime_dir.iterdir()), os.listdir(runtime_dir)


def in_a_container(*gunicorn: str, env: dict[str, str | None] | None = None) -> WebServer:
    """gunicorn as a container's process 1."""
    command = [*CONTAINER, sys.executable, "-m", "gunicorn", "--no-control-socket", "-k", "gevent"]
    command += ["--bind", "127.0.0.1:0", "--config", gunicorn_started.__file__, *gunicorn, "support.apps:flask()"]
    # unshare takes no other signal while it waits; what is inside ends with it.
    return WebServer(command, env=env, stop_signal=signal.SIGKILL)


def servers(web: WebServer, prefix: str = "") -> list[dict[str, Any]]:
    answer = web.get(f"{prefix}/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"})
    return json.loads(answer)["servers"]


def test_a_container_with_four_workers_is_watched_through_its_one_port() -> None:
    # As in most images: no login, so no XDG_RUNTIME_DIR, and a home that is not there.
    with in_a_container("--workers", "4", env={"XDG_RUNTIME_DIR": None, "HOME": "/nonexistent"}) as web:
        wait_until(lambda: len(servers(web)) == 4, "four records", timeout=20)
        found = servers(web)
        # gunicorn is 1, and pids are the container's own.
        assert all(1 < entry["pid"] < 100 for entry in found)
        assert all(entry["alive"] and entry["rss"] > 0 for entry in found)
        for entry in found:
            with connect_rbkit(web.url("/", server=entry["id"]), token=TOKEN) as client:
                answer = decode_answer(client.command("handshake"))
                assert isinstance(answer, dict)
                assert answer["payload"]["pid"] == entry["pid"]


def test_behind_a_path_prefix_everything_is_below_it() -> None:
    """An ingress passes a path on unchanged; gunicorn is told of the prefix by SCRIPT_NAME."""
    with in_a_container("--workers", "2", env={"SCRIPT_NAME": "/shop"}) as web:
        wait_until(lambda: len(servers(web, "/shop")) == 2, "two records", timeout=20)
        for entry in servers(web, "/shop"):
            with connect_rbkit(web.url("/shop/any/path", server=entry["id"]), token=TOKEN) as client:
                assert client.command("trigger_gc") == b"ok"
        login = urllib.request.Request(
            web.url("/shop/__rbkit__/login", scheme="http"), data=f"token={TOKEN}".encode(), method="POST"
        )
        with urllib.request.urlopen(login, timeout=10) as response:
            assert "Path=/shop;" in response.headers["Set-Cookie"]
        assert b"hello" in web.get("/shop/hello")


def test_a_gateway_behind_a_path_prefix_is_told_by_its_mount(runtime_dir: Path) -> None:
    with StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as rbkit:
        options = ("--pub-endpoint", rbkit.pub_endpoint, "--req-endpoint", rbkit.req_endpoint, "--token", TOKEN)
        env = {"RBKIT_MOUNT": "/profiler/__rbkit__"}
        with running("gateway", "--bind", "127.0.0.1:0", *options, env=env) as gateway:
            url = f"http://127.0.0.1:{gateway.port}/profiler/__rbkit__/servers"
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
            with urllib.request.urlopen(request, timeout=10) as response:
                assert json.loads(response.read())["servers"][0]["alive"]
            with connect(f"ws://127.0.0.1:{gateway.port}/profiler/", token=TOKEN) as client:
                assert client.command("trigger_gc") == b"ok"
            assert gateway.end() == (0, "")
