"""gunicorn replaces its workers: the old one's sessions are told and hold nobody up, and the new one serves."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack

import pytest
from support.rawclient import RawClient
from support.servers import SERVERS, TOKEN, Gunicorn, WebServer, alive
from support.standin import StandIn
from support.waiting import scaled, wait_until

from rbkit_websocket import ConnectionClosed, connect
from rbkit_websocket.client import Client

from .conftest import endpoints
from .test_shutdown import GUNICORNS, assert_told, sessions

# gunicorn looks once a second whether its connections are gone, and a session may delay the exit by a second.
LONGEST_EXIT = 2.0


def assert_replaced(web: WebServer, old: int) -> None:
    """The old worker goes, and what comes from now on is answered by another."""
    begin = time.monotonic()
    wait_until(lambda: not alive(old), "the old worker's end", timeout=5)
    assert time.monotonic() - begin < scaled(LONGEST_EXIT + 0.5)
    (new,) = wait_until(web.worker_pids, "the new worker")
    assert web.get("/hello") == b"hello from %d" % new
    with connect(web.url(), token=TOKEN) as client:
        assert client.command("ping") == b"ok"


def own_log(web: WebServer) -> str:
    """Without the lines that gunicorn writes about itself at any reload."""
    return "\n".join(line for line in web.log().splitlines() if "[INFO]" not in line and "HTTP/1.1" not in line)


@pytest.mark.parametrize("server", GUNICORNS)
def test_sighup(server: str) -> None:
    with StandIn() as rbkit, SERVERS[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        (old,) = web.worker_pids()
        clients = sessions(web, stack, 3)
        begin = time.monotonic()
        web.signal(signal.SIGHUP)
        # The master first starts the new worker.
        assert_told(clients, begin, within=3)
        assert_replaced(web, old)
        assert own_log(web) == ""


def test_max_requests() -> None:
    """Only of this worker: gunicorn does not count the requests of those that are pywsgi inside."""
    options, launch = ["--max-requests", "5"], SERVERS["gunicorn-gevent"]
    with StandIn() as rbkit, launch(env=endpoints(rbkit), options=options) as web, ExitStack() as stack:
        (old,) = web.worker_pids()
        clients = sessions(web, stack, 1)
        begin = time.monotonic()
        for _ in range(5):
            web.get("/hello")
        assert_told(clients, begin, within=2)
        assert_replaced(web, old)
        assert own_log(web) == ""


@pytest.mark.parametrize("server", ["gunicorn-gevent", "gunicorn-geventwebsocket"])
def test_clients_that_do_not_answer_hold_a_reload_up_for_a_second_at_most(server: str) -> None:
    with StandIn() as rbkit, SERVERS[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        (old,) = web.worker_pids()
        (mute,) = sessions(web, stack, 1)
        web.signal(signal.SIGHUP)
        assert mute.closing().close_code == 1001
        assert_replaced(web, old)


def test_a_request_underway_is_finished_while_the_session_is_not_waited_for() -> None:
    answers: list[bytes] = []
    with StandIn() as rbkit, SERVERS["gunicorn-gevent"](env=endpoints(rbkit)) as web, ExitStack() as stack:
        clients = sessions(web, stack, 1)
        visitor = threading.Thread(target=lambda: answers.append(web.get("/nap", seconds="1.5")))
        with RawClient(web.port) as probe:
            probe.upgrade(f"/?token={TOKEN}")
            visitor.start()
            assert probe.command("ping") == b"ok"
        begin = time.monotonic()
        web.signal(signal.SIGHUP)
        assert_told(clients, begin, within=1.4)
        visitor.join()
        assert answers == [b"slept"]


def test_reloads_in_a_row_lose_no_request_and_leave_a_server_to_reconnect_to() -> None:
    """Two workers; embedded servers, so each reload replaces those too."""
    failures: list[BaseException] = []
    served: list[int] = []
    done = threading.Event()

    def visit(web: WebServer) -> None:
        try:
            while not done.is_set():
                served.append(int(web.get("/hello").removeprefix(b"hello from ")))
        except BaseException as error:
            failures.append(error)

    with Gunicorn("gevent")(workers=2) as web:
        visitor = threading.Thread(target=visit, args=(web,))
        visitor.start()
        try:
            client = connect(web.url(), token=TOKEN)
            for _ in range(4):
                # A worker that is still starting loses the signal to end.
                wait_until(lambda: set(web.worker_pids()) <= set(served), "all workers to serve", timeout=20)
                before = set(web.worker_pids())
                web.signal(signal.SIGHUP)
                client = reconnected(client, web)
                wait_until(
                    lambda before=before: not before & set(web.worker_pids()), "all old workers' end", timeout=10
                )
                client = reconnected(client, web) if client.closed else client
                wait_until(lambda: len(web.worker_pids()) == 2, "the new workers")
            client.close()
        finally:
            done.set()
            visitor.join()
        assert failures == []
        assert len(served) > 20
        assert own_log(web) == ""


def reconnected(client: Client, web: WebServer) -> Client:
    """Waits for the end of ``client``, which has to be an orderly one, and connects again at once."""
    ended = wait_until(lambda: client.closed, "the session's end", timeout=5)
    assert isinstance(ended, ConnectionClosed)
    assert ended.code == 1001
    client.close()

    def connected() -> Client | None:
        fresh = connect(web.url(), token=TOKEN)
        try:
            assert fresh.handshake()["pid"]
        except ConnectionClosed as error:
            fresh.close()
            if error.code != 1001:
                raise
            return None  # it was the other worker, which leaves as well
        return fresh

    fresh = wait_until(connected, "a server that stays")
    assert fresh is not None
    return fresh
