"""Servers of threads, and uWSGI: sessions never take the last thread, and end as well as the server lets them."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.proxies import Nginx, require_nginx
from support.rawclient import CLOSE, RawClient, connect_rbkit, upgrade_request
from support.servers import THREADED, TOKEN, UWSGI_SOCKET, Command, Plain, WebServer
from support.standin import RECORDINGS, StandIn
from support.transports import Authority, UnixClient
from support.waiting import scaled, wait_until
from websockets.exceptions import InvalidStatus

from rbkit_websocket.protocol.messages import decode_answer

from .conftest import Fleet, Site, endpoints, in_use, target
from .test_scenarios import BACKLOG
from .test_shutdown import assert_told, sessions


@pytest.fixture
def rbkit() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


@pytest.fixture(scope="session")
def gthread_site(fleet: Fleet) -> Site:
    return fleet.site("gunicorn-gthread", RBKIT_BACKLOG=str(BACKLOG), RBKIT_PING_INTERVAL="60")


@pytest.fixture
def gthread(gthread_site: Site) -> Iterator[Site]:
    """gunicorn with eight threads."""
    with in_use(gthread_site) as site:
        yield site


# How many

POOLED = ("gunicorn-gthread", "gunicorn-gthread-patched", "cheroot", "uwsgi")
"""Each with 8 threads (uWSGI: cores)."""


@pytest.mark.parametrize("server", POOLED)
def test_sessions_leave_the_application_a_thread(server: str, rbkit: StandIn) -> None:
    with THREADED[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        clients = sessions(web, stack, 7)
        for _ in range(3):
            with RawClient(web.port) as client:
                response = client.request(upgrade_request(target()))
            assert (response.status, response.headers["retry-after"]) == (503, "5")
            assert b"the last of its 8 threads is the application's" in response.body
            assert web.get("/hello", timeout=5)
        clients.pop().close()

        def another() -> bool:
            client = stack.enter_context(RawClient(web.port))
            return client.request(upgrade_request(target())).status == 101

        wait_until(another, "the place of the one that left")


def test_max_sessions_counts_where_it_is_less(rbkit: StandIn) -> None:
    with (
        THREADED["gunicorn-gthread"](env={**endpoints(rbkit), "RBKIT_MAX_SESSIONS": "2"}) as web,
        ExitStack() as stack,
    ):
        sessions(web, stack, 2)
        with RawClient(web.port) as client:
            assert b"option max_sessions" in client.request(upgrade_request(target())).body


@pytest.mark.parametrize("server", ["flask-run", "runserver"])
def test_a_thread_for_each_connection_sets_no_limit_of_its_own(server: str, rbkit: StandIn) -> None:
    with THREADED[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        sessions(web, stack, 20)
        assert web.get("/hello", timeout=5)


def test_a_thousand_sessions_leave_nothing_in_the_pool(rbkit: StandIn) -> None:
    def run(count: int) -> None:
        for _ in range(count):
            with RawClient(web.port) as client:
                client.upgrade(target())
                assert client.command("ping") == b"ok"
                client.close()

    def facts() -> dict[str, Any]:
        rbkit.wait_for_subscribers(0)
        return json.loads(web.get("/facts"))

    with THREADED["gunicorn-gthread"](env=endpoints(rbkit), options=["--threads", "3"]) as web:
        run(50)
        before = facts()
        run(1000)
        names = ("descriptors", "native_threads", "greenlets")
        after: dict[str, int] = {}

        def settled() -> bool:
            after.update({name: facts()[name] - before[name] for name in names})
            return all(after[name] <= 2 for name in names)

        wait_until(settled, f"what was before: {before}")


def test_older_clients_in_other_threads_are_told_of_newer_ones(gthread: Site) -> None:
    site = gthread
    with site.connect() as first:
        first.command("ping")
        with site.connect() as second:
            second.command("ping")
            assert first.notice() == "client_count:2"
            with site.connect() as third:
                assert first.notice() == "client_count:3"
                assert second.notice() == "client_count:3"
                third.command("ping")
                assert third.notices == []
                site.rbkit.flood(100)
                for client in (first, second, third):
                    assert len([client.publication() for _ in range(100)]) == 100


def test_sessions_keep_their_threads_and_the_others_are_served(gthread: Site) -> None:
    """Eight threads that open and close sessions at the same time, beside requests of the application."""
    from concurrent.futures import ThreadPoolExecutor

    def visit(site: Site, number: int) -> int:
        with RawClient(site.web.port) as client:
            status = client.request(upgrade_request(target())).status
            if status == 101:
                text = f"standin echo {number}"
                assert client.command(text) == b"%d" % number
                client.close()
            return status

    site = gthread
    with ThreadPoolExecutor(12) as pool:
        visits = [pool.submit(visit, site, number) for number in range(150)]
        for _ in range(20):
            assert site.web.get("/hello", timeout=10)
        statuses = [one.result() for one in visits]
    assert set(statuses) <= {101, 503}
    assert statuses.count(101) > 20


# The embedded server under threads


def test_the_embedded_server_watches_a_process_of_threads() -> None:
    with THREADED["gunicorn-gthread"]() as web, connect_rbkit(web.url(), token=TOKEN) as client:
        handshake = decode_answer(client.command("handshake"))
        assert isinstance(handshake, dict)
        assert handshake["payload"]["pid"] in web.worker_pids()
        client.command("use_wall_time")
        client.command("start_cpu_polling")
        web.get("/busy", seconds="0.5")
        assert b"burn_cpu" in client.command("cpu_profile")
        stacks = decode_answer(client.command("stacks"))
        assert isinstance(stacks, dict)
        blocked = decode_answer(client.command("blocked"))
        assert isinstance(blocked, dict)
        assert blocked["error"] == "not_applicable", "a session's own event loop is not the application's"


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "127.0.0.1")


def over_tls(web: WebServer, authority: Authority) -> Any:
    return connect_rbkit(web.url(scheme="wss"), token=TOKEN, ssl=authority.client_context())


@pytest.mark.parametrize(
    ("server", "certificate", "key"),
    [("gunicorn-gthread", "--certfile", "--keyfile"), ("flask-run", "--cert", "--key")],
)
def test_tls_in_plain_threads_is_refused_with_the_reason(
    server: str, certificate: str, key: str, authority: Authority
) -> None:
    options = [certificate, str(authority.certificate), key, str(authority.key)]
    with (
        THREADED[server](options=options) as web,
        pytest.raises(InvalidStatus) as refused,
        over_tls(web, authority),
    ):
        pass
    assert refused.value.response.status_code == 501
    body = bytes(refused.value.response.body or b"")
    assert b"Have a proxy end TLS" in body
    assert b"gunicorn -k gevent --certfile" in body


def test_tls_in_patched_threads_works(authority: Authority, rbkit: StandIn) -> None:
    options = ["--certfile", str(authority.certificate), "--keyfile", str(authority.key)]
    with (
        THREADED["gunicorn-gthread-patched"](options=options, env=endpoints(rbkit)) as web,
        over_tls(web, authority) as client,
    ):
        assert len(client.command("standin answer 3000000")) == 3_000_000


def test_a_unix_socket_works(runtime_dir: Path, rbkit: StandIn) -> None:
    path = runtime_dir / "web"
    with THREADED["gunicorn-gthread"](options=["--bind", f"unix:{path}"], env=endpoints(rbkit)):
        with UnixClient(path) as client:
            client.upgrade(target())
            assert client.command("ping") == b"ok"
            client.close()
        rbkit.wait_for_subscribers(0)


# Behind nginx


@pytest.mark.parametrize("server", ["gunicorn-gthread", "uwsgi-socket"])
def test_behind_nginx(server: str, rbkit: StandIn) -> None:
    require_nginx()  # before a server is started in vain
    launch, configuration = (UWSGI_SOCKET, "uwsgi") if "uwsgi" in server else (THREADED[server], "plain")
    with launch(env=endpoints(rbkit)) as web, Nginx(configuration, web.port) as nginx, RawClient(nginx.port) as client:
        client.upgrade(target())
        assert len(client.command("standin answer 3000000")) == 3_000_000
        rbkit.replay()
        assert [client.publication() for _ in RECORDINGS] == list(RECORDINGS.values())
        client.close()


# The end


def seconds_to_stop(server: str, rbkit: StandIn, clients: Callable[[WebServer, ExitStack], object]) -> float:
    with THREADED[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        web.get("/hello")
        clients(web, stack)
        begin = time.monotonic()
        web.terminate()
        web.wait(10)
        return time.monotonic() - begin


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_gthread_says_goodbye(number: int, rbkit: StandIn) -> None:
    with THREADED["gunicorn-gthread"](env=endpoints(rbkit)) as web, ExitStack() as stack:
        clients = sessions(web, stack, 5)
        begin = time.monotonic()
        web.signal(number)
        assert_told(clients, begin)
        web.wait(4)


def test_clients_that_do_not_answer_hold_gthread_up_for_a_second_at_most(rbkit: StandIn) -> None:
    def stuck(web: WebServer, stack: ExitStack) -> None:
        sessions(web, stack, 2)
        slow = stack.enter_context(RawClient(web.port, receive_buffer=4096))
        slow.upgrade(target())
        assert slow.command("ping") == b"ok"
        rbkit.flood(200, 100_000)
        rbkit.wait_until_idle()

    alone = seconds_to_stop("gunicorn-gthread", rbkit, lambda web, stack: None)
    assert seconds_to_stop("gunicorn-gthread", rbkit, stuck) < alone + scaled(1.5)


@pytest.mark.parametrize("server", ["gunicorn-gthread", "uwsgi"])
def test_a_reload_says_goodbye_and_the_next_worker_takes_new_sessions(server: str, rbkit: StandIn) -> None:
    with THREADED[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        old = json.loads(web.get("/facts"))["pid"]
        clients = sessions(web, stack, 2)
        begin = time.monotonic()
        # uWSGI's master would start itself anew, which the build on PyPI cannot; its worker gets the same signal.
        os.kill(old if server == "uwsgi" else web.pid, signal.SIGHUP)
        assert_told(clients, begin, within=3)

        def next_worker() -> bool:
            try:
                return json.loads(web.get("/facts", timeout=1))["pid"] != old
            except OSError:
                return False  # uWSGI drops, or forgets, connections made while its old worker ends

        wait_until(next_worker, "the next worker", timeout=10)
        sessions(web, stack, 1)


@pytest.mark.parametrize("server", ["flask-run", "runserver", "wsgiref-threads", "cheroot"])
def test_control_c_says_goodbye(server: str, rbkit: StandIn) -> None:
    plain = server in ("flask-run", "runserver")  # the others are run by the tests' own code, without a handler
    with THREADED[server](env=endpoints(rbkit), check_log=plain) as web, ExitStack() as stack:
        clients = sessions(web, stack, 3)
        begin = time.monotonic()
        web.signal(signal.SIGINT)
        assert_told(clients, begin)
        web.wait(4)


@pytest.mark.parametrize("server", ["wsgiref-threads", "wsgiref-waiting-threads", "cheroot"])
def test_a_handler_of_sigterm_that_exits_says_goodbye(server: str, rbkit: StandIn) -> None:
    launch: Plain | Command | Any = THREADED.get(server) or Plain("wsgiref_waiting_threads")
    with launch(env={**endpoints(rbkit), "TEST_CLOSE_SESSIONS": "exit"}) as web, ExitStack() as stack:
        clients = sessions(web, stack, 3)
        begin = time.monotonic()
        web.terminate()
        assert_told(clients, begin)
        assert web.wait(4) == 0


def test_close_sessions_may_be_called_from_any_thread(rbkit: StandIn) -> None:
    launch = THREADED["wsgiref-threads"]
    with launch(env={**endpoints(rbkit), "TEST_CLOSE_SESSIONS": "close"}) as web, ExitStack() as stack:
        clients = sessions(web, stack, 3)
        silent = stack.enter_context(RawClient(web.port))  # never answers the close frame
        silent.upgrade(target())
        assert silent.command("ping") == b"ok"
        begin = time.monotonic()
        web.terminate()
        assert_told(clients, begin)
        assert web.wait(4) == 0
        assert time.monotonic() - begin < scaled(3)


@pytest.mark.parametrize("server", ["flask-run", "runserver", "wsgiref-threads", "cheroot"])
def test_left_alone_they_die_at_once(server: str, rbkit: StandIn) -> None:
    with THREADED[server](env=endpoints(rbkit)) as web, ExitStack() as stack:
        (client,) = sessions(web, stack, 1)
        web.terminate()
        assert web.wait(3) == -signal.SIGTERM
        client.read_to_end()


def test_a_connection_that_is_gone_before_the_101_leaves_nothing_behind(gthread: Site) -> None:
    site = gthread
    for _ in range(10):
        with RawClient(site.web.port) as client:
            client.send(upgrade_request(target()))
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def answers() -> bool:
        with RawClient(site.web.port) as client:
            # Until the last of them has been read and given up, all threads may have one.
            if client.request(upgrade_request(target())).status != 101:
                return False
            assert client.command("ping") == b"ok"
            client.send_frame(CLOSE)
            return True

    wait_until(answers, "a thread for a session")
    site.settled()
