"""The web server's end: a close frame to every client well before any grace period, and a worker that is gone soon."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.rawclient import CLOSE, RawClient
from support.servers import SERVERS, Gunicorn, WebServer
from support.standin import StandIn
from support.waiting import scaled, wait_until

from .conftest import Site, endpoints, target

GUNICORNS = [name for name, launcher in SERVERS.items() if isinstance(launcher, Gunicorn)]


@pytest.fixture
def rbkit() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


def sessions(web: WebServer, stack: ExitStack, count: int) -> list[RawClient]:
    """So many open sessions, each with a command behind it."""
    clients = []
    for _ in range(count):
        client = stack.enter_context(RawClient(web.port))
        client.upgrade(target())
        assert client.command("ping") == b"ok"
        clients.append(client)
    return clients


def assert_told(clients: list[RawClient], begin: float, within: float = 1.0) -> None:
    """All got 1001 in time, and then the end of the connection."""
    for client in clients:
        closing = client.closing()
        assert closing.close_code == 1001
        assert closing.close_reason
        assert time.monotonic() - begin < scaled(within)
        client.send_frame(CLOSE, closing.payload)
        assert client.read_to_end() == b""


@pytest.mark.smoke
@pytest.mark.parametrize("server", GUNICORNS)
def test_sigterm_says_goodbye_long_before_the_grace_period(server: str, rbkit: StandIn) -> None:
    with SERVERS[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        clients = sessions(web, stack, 5)
        begin = time.monotonic()
        web.terminate()
        assert_told(clients, begin)
        # gunicorn itself looks once a second whether its connections are gone
        web.wait(4)


@pytest.mark.parametrize("server", ["gunicorn-gevent", "gunicorn-geventwebsocket"])
def test_clients_that_do_not_answer_hold_the_worker_up_for_a_second_at_most(server: str, rbkit: StandIn) -> None:
    with SERVERS[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        clients = sessions(web, stack, 3)
        stuck = stack.enter_context(RawClient(web.port, receive_buffer=4096))
        stuck.upgrade(target())
        assert stuck.command("ping") == b"ok"
        rbkit.flood(300, 100_000)
        rbkit.wait_until_idle()
        begin = time.monotonic()
        web.terminate()
        for client in clients:
            assert client.closing().close_code == 1001
        web.wait(4)
        assert time.monotonic() - begin < scaled(4)


def test_four_workers_with_sessions_end_together(rbkit: StandIn) -> None:
    with SERVERS["gunicorn-gevent"](workers=4, env=endpoints(rbkit)) as web, ExitStack() as stack:
        # A worker that is still starting loses the signal, and gunicorn waits for it as long as for a request.
        wait_until(lambda: len({web.get("/hello") for _ in range(16)}) == 4, "all workers to serve", timeout=20)
        clients = sessions(web, stack, 16)
        begin = time.monotonic()
        web.terminate()
        assert_told(clients, begin, within=1.5)
        web.wait(4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_quick_shutdown_says_goodbye_too(number: int, rbkit: StandIn) -> None:
    with SERVERS["gunicorn-gevent"](env=endpoints(rbkit)) as web, ExitStack() as stack:
        clients = sessions(web, stack, 2)
        begin = time.monotonic()
        web.signal(number)
        assert_told(clients, begin)
        web.wait(4)


@pytest.mark.parametrize("server", ["pywsgi", "pywsgi-websockethandler"])
def test_close_sessions_says_goodbye_where_the_server_would_not(server: str, rbkit: StandIn) -> None:
    with SERVERS[server](env={**endpoints(rbkit), "TEST_CLOSE_SESSIONS": "1"}) as web, ExitStack() as stack:
        clients = sessions(web, stack, 3)
        begin = time.monotonic()
        web.terminate()
        assert_told(clients, begin)
        assert web.wait(3) == 0


@pytest.mark.parametrize("server", ["pywsgi", "pywsgi-websockethandler"])
def test_plain_servers_die_at_once(server: str, rbkit: StandIn) -> None:
    with SERVERS[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        (client,) = sessions(web, stack, 1)
        web.terminate()
        assert web.wait(3) == -signal.SIGTERM
        client.read_to_end()


@pytest.mark.parametrize("server", ["gunicorn-gevent", "gunicorn-geventwebsocket"])
def test_a_killed_worker_ends_its_sessions_and_the_next_one_serves(server: str, rbkit: StandIn) -> None:
    with SERVERS[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        clients = sessions(web, stack, 3)
        os.kill(web.worker_pids()[0], signal.SIGKILL)
        for client in clients:
            client.read_to_end()
        rbkit.wait_for_subscribers(0)
        wait_until(web.worker_pids, "a new worker")
        sessions(web, stack, 1)


def test_a_session_is_one_line_in_the_access_log(site: Site, server_name: str) -> None:
    if server_name not in ("gunicorn-gevent", "gunicorn-gevent_pywsgi"):
        pytest.skip("gevent-websocket's handler logs no upgrade, and plain pywsgi's log has another form")
    said = len(site.web.log())
    with site.raw("/logged") as client:
        client.command("ping")
        client.close(1000)
    wait_until(lambda: "/logged" in site.web.log()[said:], "the access log")
    lines = [line for line in site.web.log()[said:].splitlines() if "/logged" in line]
    assert len(lines) == 1
    assert " 101 " in lines[0]
