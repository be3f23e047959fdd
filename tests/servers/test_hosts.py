"""Two hosts and a gateway, over links that speak CURVE; network namespaces stand for the hosts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cliprocess import Running, running
from support.tcpserver import TcpServer
from support.waiting import scaled, wait_until

from rbkit_websocket import ConnectionClosed, ConnectionRefused, connect
from rbkit_websocket.transport.curve import write_key_pair

TOKEN = "long-enough-for-this"
PORTS = (5555, 5556)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def possible() -> bool:
    name = f"rbkit-try-{os.getpid()}"
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    if made:
        made = subprocess.run(["ip", "netns", "exec", name, "true"], capture_output=True).returncode == 0
        ip("netns", "delete", name)
    return made


pytestmark = pytest.mark.skipif(not possible(), reason="needs root, ip(8) and the right to make network namespaces")


@dataclass(frozen=True)
class Host:
    """A network namespace with one link to this one.

    Attributes:
        name: of the namespace.
        address: its end of the link.
    """

    name: str
    address: str

    @property
    def inside(self) -> tuple[str, ...]:
        """What stands before a command to run it there."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Nothing comes from there any more, as if its machine had lost power: no FIN, no RST."""
        ip("-n", self.name, "link", "set", "uplink", "down")

    def mend(self) -> None:
        ip("-n", self.name, "link", "set", "uplink", "up")


@contextmanager
def host(number: int) -> Iterator[Host]:
    # Addresses for benchmarks (RFC 2544), which nobody routes; the pid keeps two runs on one machine apart.
    name = f"rb{os.getpid()}n{number}"
    net = f"198.18.{os.getpid() % 256}.{number * 4}"
    here, there = (f"{net.rpartition('.')[0]}.{number * 4 + last}" for last in (1, 2))
    link = f"rb{os.getpid() % 10**7}v{number}"
    ip("netns", "add", name)
    try:
        ip("link", "add", link, "type", "veth", "peer", "name", "uplink", "netns", name)
        ip("address", "add", f"{here}/30", "dev", link)
        ip("link", "set", link, "up")
        ip("-n", name, "address", "add", f"{there}/30", "dev", "uplink")
        ip("-n", name, "link", "set", "uplink", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield Host(name, there)
    finally:
        # The link first, and with it its other end: a namespace goes some time after it was deleted.
        subprocess.run(["ip", "link", "delete", link], capture_output=True)
        ip("netns", "delete", name)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with host(1) as one, host(2) as two:
        yield one, two


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("web1", "web2", "gateway"):
        write_key_pair(tmp_path, name)
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients" / "gateway.key").write_bytes((tmp_path / "gateway.key").read_bytes())
    return tmp_path


def server(where: Host, keys: Path, name: str) -> TcpServer:
    return TcpServer(
        prefix=where.inside,
        host=where.address,
        ports=PORTS,
        RBKIT_BIND_HOST=where.address,
        RBKIT_CURVE_SECRET_KEY_FILE=str(keys / f"{name}.key_secret"),
        RBKIT_CURVE_AUTHORIZED_KEYS_DIR=str(keys / "clients"),
    )


def listing(gateway: Running) -> dict[str, dict[str, Any]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.port}/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=scaled(10)) as response:
        return {entry["name"]: entry for entry in json.loads(response.read())["servers"]}


def reaches(gateway: Running, name: str) -> bool:
    try:
        with connect(gateway.url, server=name) as client:
            return bool(client.handshake()["pid"])
    except (ConnectionClosed, ConnectionRefused):
        return False


def test_a_host_that_disappears_is_noticed_and_comes_back(
    runtime_dir: Path, hosts: tuple[Host, Host], keys: Path
) -> None:
    one, two = hosts
    with server(one, keys, "web1") as web1, server(two, keys, "web2") as web2:
        file = keys / "servers"
        file.write_text(f"web1 = {web1.address} web1.key\nweb2 = {web2.address} web2.key\n")
        options = ("--servers-file", str(file), "--curve-secret-key-file", str(keys / "gateway.key_secret"))
        with running("gateway", "--bind", "127.0.0.1:0", "--token", TOKEN, *options) as gateway:
            assert gateway.url
            assert [entry["alive"] for entry in listing(gateway).values()] == [True, True]
            with connect(gateway.url, server="web1") as lost, connect(gateway.url, server="web2") as kept:
                for client in (lost, kept):
                    client.handshake()
                    assert client.command("start_memory_profile") == b"ok"
                    assert client.command("trigger_gc") == b"ok"
                    next(client.events(scaled(10)))
                one.cut()
                begin = time.monotonic()
                entries = listing(gateway)
                assert time.monotonic() - begin < scaled(2)
                assert (entries["web1"]["alive"], entries["web1"]["problem"]) == (False, "not reachable")
                assert entries["web2"]["alive"]
                with pytest.raises(ConnectionClosed) as caught:
                    list(lost)  # what was on its way yet
                # 3 s of silence, and 2 s in which it might have come back.
                assert time.monotonic() - begin < scaled(8)
                assert (caught.value.code, caught.value.reason) == (1011, "Rbkit server is not running any more")
                assert not reaches(gateway, "web1")
                assert kept.handshake()["pid"] == web2.process.pid
            one.mend()
            wait_until(lambda: listing(gateway)["web1"]["alive"], "the host to be back in the list", timeout=5)
            wait_until(lambda: reaches(gateway, "web1"), "a session with it", timeout=5)
            assert gateway.end() == (0, "")


def test_a_short_cut_ends_no_session(runtime_dir: Path, hosts: tuple[Host, Host], keys: Path) -> None:
    one, _ = hosts
    with server(one, keys, "web1") as web1:
        own = ("--curve-secret-key-file", str(keys / "gateway.key_secret"))
        given = ("--server", f"web1={web1.address} {keys / 'web1.key'}")
        with running("gateway", "--bind", "127.0.0.1:0", "--token", TOKEN, *given, *own) as gateway:
            with connect(gateway.url) as client:
                pid = client.handshake()["pid"]
                one.cut()
                time.sleep(1)  # as long as the cable is out
                one.mend()
                assert client.handshake()["pid"] == pid
            assert gateway.end() == (0, "")
