"""Containers that share a runtime directory: pid namespaces stand for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.embeddedpeer import Peer
from support.waiting import wait_until

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

WORKER = """
import json, os, sys
from rbkit_websocket import discovery
from rbkit_websocket.config import Settings
from rbkit_websocket.server import ensure_embedded
settings = Settings(name="shop")
endpoints = ensure_embedded(settings)
print(json.dumps([endpoints.id, os.getpid()]), flush=True)
for _ in sys.stdin:
    found = discovery.listing(discovery.runtime_directory(), "shop")
    discovery.sweep(discovery.runtime_directory())
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
        assert len(list(runtime_dir.iterdir())) == 9
        for path in runtime_dir.glob("*.req"):
            with Peer(None, f"ipc://{path}") as peer:
                assert peer.handshake()["server_id"] in everybody
        three.end(kill=True)
        wait_until(lambda: set(one.listing()) == {one.id, two.id}, "the killed one to leave the list", timeout=2)
        left = [path.name for path in runtime_dir.iterdir()]
        assert len(left) == 6
        assert not any(three.id in name for name in left)
    assert not list(runtime_dir.iterdir()), os.listdir(runtime_dir)
