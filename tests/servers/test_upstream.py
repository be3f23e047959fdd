"""The Rbkit server goes away, comes back, hangs: clients are told in time and the web server lives on."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest
from support.ports import free_port
from support.rawclient import RawClient
from support.servers import SERVERS, WebServer, alive
from support.standin import StandIn, StandInProcess
from support.waiting import scaled, wait_until

from .conftest import target

NOT_RUNNING = "Rbkit server is not running"


class Upstream:
    """A web server whose Rbkit server is there only when a test starts it."""

    def __init__(self, web: WebServer, pub: str, req: str) -> None:
        self.web = web
        self.pub = pub
        self.req = req

    def rbkit(self, *options: str) -> StandInProcess:
        """The Rbkit server, not started."""
        return StandInProcess(*options, pub=self.pub, req=self.req)

    def session(self) -> RawClient:
        """A session that has been answered once."""
        client = RawClient(self.web.port)
        client.upgrade(target())
        assert client.command("standin echo here") == b"here"
        return client


@pytest.fixture(scope="module", params=[*(f"{name}-ipc" for name in SERVERS), "gunicorn-gevent-tcp"])
def upstream_site(request: pytest.FixtureRequest) -> Iterator[Upstream]:
    server, _, transport = request.param.rpartition("-")
    directory = tempfile.mkdtemp(prefix="rbu", dir="/tmp")
    if transport == "ipc":
        pub, req = f"ipc://{directory}/pub", f"ipc://{directory}/req"
    else:
        pub, req = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    env = {"RBKIT_PUB_ENDPOINT": pub, "RBKIT_REQ_ENDPOINT": req, "RBKIT_CONNECT_TIMEOUT": str(scaled(1))}
    with SERVERS[server](env=env) as web:
        yield Upstream(web, pub, req)
    shutil.rmtree(directory)


@pytest.fixture
def upstream(upstream_site: Upstream) -> Iterator[Upstream]:
    said = len(upstream_site.web.log())
    yield upstream_site
    assert "Traceback" not in upstream_site.web.log()[said:]
    assert b"hello" in upstream_site.web.get("/hello")


def close_within(client: RawClient, begin: float, seconds: float) -> tuple[int | None, str]:
    """Code and reason of the close frame that comes in time."""
    closing = client.closing()
    assert time.monotonic() - begin < scaled(seconds)
    client.send_frame(8, closing.payload)
    assert client.read_to_end() == b""
    return closing.close_code, closing.close_reason


@pytest.mark.smoke
def test_an_absent_server_closes_with_1013(upstream: Upstream) -> None:
    with RawClient(upstream.web.port) as client:
        begin = time.monotonic()
        client.upgrade(target())
        code, reason = close_within(client, begin, 1.5)
        assert code == 1013
        assert reason.startswith(NOT_RUNNING)


def test_commands_sent_in_vain_are_no_trouble(upstream: Upstream) -> None:
    with RawClient(upstream.web.port) as client:
        client.upgrade(target())
        for _ in range(10):
            client.send_text("ping")
        assert client.closing().close_code == 1013


def test_a_server_killed_with_a_command_in_flight_closes_within_a_second(upstream: Upstream) -> None:
    with upstream.rbkit("--delay", "30") as rbkit, RawClient(upstream.web.port) as client:
        client.upgrade(target())
        client.send_text("ping")
        wait_for_session(upstream)
        begin = time.monotonic()
        rbkit.kill()
        code, reason = close_within(client, begin, 1)
        assert code == 1011
        assert "went away" in reason


def wait_for_session(upstream: Upstream) -> None:
    """Nothing tells when a command is in flight to a server that keeps silent, but it takes no tenth of a second."""
    time.sleep(scaled(0.15))


def test_a_server_that_dies_of_a_command(upstream: Upstream) -> None:
    with upstream.rbkit("--die-on", "trigger_gc"), upstream.session() as client:
        begin = time.monotonic()
        client.send_text("trigger_gc")
        assert close_within(client, begin, 1)[0] == 1011


def test_a_server_that_comes_back_serves_new_connections(upstream: Upstream) -> None:
    with upstream.rbkit() as rbkit:
        upstream.session().socket.close()
        for _ in range(3):
            rbkit.kill()
            with RawClient(upstream.web.port) as client:
                client.upgrade(target())
                assert client.closing().close_code == 1013
            rbkit.start()
            with upstream.session() as client:
                client.send_text("standin flood 3 200")
                kinds = sorted(client.message().payload[:1] for _ in range(4))
                assert kinds == [b"0", b"1", b"1", b"1"]


def test_an_idle_session_survives_a_restart_in_between(upstream: Upstream) -> None:
    with upstream.rbkit() as rbkit, upstream.session() as client:
        rbkit.kill()
        rbkit.start()
        client.send_text("standin echo again")
        assert client.answer() == b"again"


def test_an_idle_session_is_told_when_it_asks_a_server_that_is_gone(upstream: Upstream) -> None:
    with upstream.rbkit() as rbkit, upstream.session() as client:
        rbkit.kill()
        begin = time.monotonic()
        client.send_text("ping")
        code, reason = close_within(client, begin, 3)
        assert code == 1011
        assert reason


def test_publications_come_again_after_a_restart(upstream: Upstream) -> None:
    with upstream.rbkit() as rbkit, upstream.session() as client:
        rbkit.kill()
        rbkit.start()

        def subscribed() -> bool:
            client.send_text("standin subscribers")
            return client.answer() == b"\x01"

        wait_until(subscribed, "the feed to reconnect", every=0.05)
        client.send_text("standin flood 1 200")
        assert {client.message().payload[:1], client.message().payload[:1]} == {b"0", b"1"}


def test_nothing_but_a_listening_port_is_no_rbkit_server(upstream: Upstream) -> None:
    """Something else holds the address and says nothing."""
    if upstream.req.startswith("ipc"):
        family, address = socket.AF_UNIX, upstream.req.removeprefix("ipc://")
    else:
        family, address = socket.AF_INET, ("127.0.0.1", int(upstream.req.rsplit(":", 1)[1]))  # type: ignore[assignment]
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_UNIX and os.path.exists(address):
            os.unlink(address)
        listener.bind(address)
        listener.listen()
        with RawClient(upstream.web.port) as client:
            begin = time.monotonic()
            client.upgrade(target())
            assert close_within(client, begin, 3)[0] == 1013
    if family == socket.AF_UNIX:
        os.unlink(address)


def test_commands_without_a_publisher(upstream: Upstream) -> None:
    with StandIn(pub="inproc://nowhere", req=upstream.req), RawClient(upstream.web.port) as client:
        begin = time.monotonic()
        client.upgrade(target())
        code, reason = close_within(client, begin, 3)
        assert code == 1013
        assert reason.startswith(NOT_RUNNING)


def test_a_frozen_server_is_noticed_by_its_missing_heartbeat() -> None:
    """SIGSTOP is how a machine that lost its power looks from here."""
    with (
        StandInProcess(pub="tcp://127.0.0.1:*", req="tcp://127.0.0.1:*") as rbkit,
        SERVERS["gunicorn-gevent"](
            env={"RBKIT_PUB_ENDPOINT": rbkit.pub_endpoint, "RBKIT_REQ_ENDPOINT": rbkit.req_endpoint}
        ) as web,
        RawClient(web.port) as client,
    ):
        client.upgrade(target())
        assert client.command("ping") == b"ok"
        rbkit.freeze()
        begin = time.monotonic()
        client.send_text("ping")
        assert close_within(client, begin, 6)[0] == 1011


@pytest.fixture(scope="module")
def survivor() -> Iterator[Upstream]:
    """A web server that is to outlive everything behind and before it."""
    directory = tempfile.mkdtemp(prefix="rbu", dir="/tmp")
    pub, req = f"ipc://{directory}/pub", f"ipc://{directory}/req"
    with SERVERS["gunicorn-gevent"](env={"RBKIT_PUB_ENDPOINT": pub, "RBKIT_REQ_ENDPOINT": req}) as web:
        yield Upstream(web, pub, req)
    shutil.rmtree(directory)


@pytest.mark.parametrize("order", list(itertools.permutations(["rbkit", "worker", "client"])), ids="-".join)
def test_kill_9_in_every_order(survivor: Upstream, order: tuple[str, ...]) -> None:
    web = survivor.web
    with survivor.rbkit() as rbkit, client_process(web) as client:
        (worker,) = web.worker_pids()
        for victim in order:
            if victim == "rbkit":
                rbkit.kill()
            elif victim == "worker":
                os.kill(worker, signal.SIGKILL)
                wait_until(lambda: not alive(worker), "the worker's end")
            else:
                client.kill()
                client.wait()
        rbkit.start()
        wait_until(lambda: [pid for pid in web.worker_pids() if pid != worker], "a new worker")
        with RawClient(web.port) as again:
            again.upgrade(target())
            assert again.command("standin echo alive") == b"alive"
            assert again.command("standin subscribers") == b"\x01", "the killed left no subscription"
            assert again.close().close_code == 1000


class client_process:  # noqa: N801 - reads like a function
    """A client in a process of its own, with a session."""

    SCRIPT = (
        "import sys, signal\n"
        "from support.rawclient import RawClient\n"
        "c = RawClient(int(sys.argv[1])); c.upgrade(sys.argv[2]); assert c.command('ping') == b'ok'\n"
        "print(flush=True); signal.pause()\n"
    )

    def __init__(self, web: WebServer) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, str(web.port), target()],
            stdout=subprocess.PIPE,
            env={**web.environment},
        )
        assert self._process.stdout.readline() == b"\n"

    def __enter__(self) -> client_process:
        return self

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        self._process.wait(scaled(5))

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()
        self._process.stdout.close()
