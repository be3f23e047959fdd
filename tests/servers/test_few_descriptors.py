"""A process that runs out of descriptors answers as it would without us; whoever wants to watch it is told why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest
from support.cliprocess import running
from support.gunicorn_ready import READY
from support.limits import answer_or_refusal, descriptors_left
from support.rawclient import RawClient, connect_rbkit
from support.servers import ALL, SERVERS, TOKEN, WebServer
from support.standin import StandIn
from support.waiting import scaled, wait_until

pytestmark = pytest.mark.long

FEW = (1, 2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 30, 40)
# What a refusal says, whichever of those that may refuse comes first.
WORDS = ("descriptor", "Too many open files", "cannot be asked", "does not answer", "not reachable")


def attempt(ask: Callable[[], Any], *more: str) -> str:
    return answer_or_refusal(ask, (*WORDS, *more))


@contextmanager
def worker(app: str, env: dict[str, str]) -> Iterator[tuple[WebServer, int]]:
    """A server with one worker that nobody has asked for anything yet, and its pid."""
    options = ("-c", "python:support.gunicorn_ready", "--keep-alive", "60")
    with SERVERS["gunicorn-gevent"](app, env=env, options=options, check_log=False) as web:
        (pid,) = web.worker_pids()
        wait_until(lambda: READY in web.log(), "the worker")
        yield web, pid


def session(web: WebServer, server: str | None = None) -> bytes:
    with connect_rbkit(web.url("/", **({} if server is None else {"server": server})), token=TOKEN) as client:
        return client.command("handshake")


def servers(web: WebServer) -> list[dict[str, Any]]:
    found = json.loads(web.get("/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"}))["servers"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("left", FEW)
@pytest.mark.parametrize("upstream", [False, True], ids=["embedded", "upstream"])
def test_few_are_left_at_the_first_request(left: int, upstream: bool) -> None:
    with ExitStack() as stack:
        env = {}
        if upstream:
            rbkit = stack.enter_context(StandIn())
            env = {"RBKIT_PUB_ENDPOINT": rbkit.pub_endpoint, "RBKIT_REQ_ENDPOINT": rbkit.req_endpoint}
            env["RBKIT_CONNECT_TIMEOUT"] = "20"  # a busy machine is no lack of descriptors
        web, pid = stack.enter_context(worker("plain", env))
        with descriptors_left(pid, left):
            assert web.get("/hello") == b"hello from %d" % pid
            if left > 1:  # the last one is the connection's: nothing can be imported, which no answer tells
                attempt(lambda: session(web))
                attempt(lambda: servers(web))
            assert web.get("/hello") == b"hello from %d" % pid
        assert web.worker_pids() == [pid]
        assert web.get("/hello") == b"hello from %d" % pid
        assert session(web), "with descriptors again it can be watched"


def test_none_is_left_in_a_session() -> None:
    commands = ("handshake", "stacks", "start_cpu_polling", "cpu_profile", "status", "snapshot_start")
    with worker("plain", {}) as (web, pid):
        with RawClient(web.port) as kept, connect_rbkit(web.url("/"), token=TOKEN) as client:
            kept.request(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.command("handshake")
            for left in range(8):
                with descriptors_left(pid, left):
                    for command in commands:
                        assert client.command(command)
                    assert kept.request(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
        assert web.worker_pids() == [pid]


def test_a_worker_without_descriptors_survives_whoever_looks_for_it_through_a_sibling() -> None:
    with SERVERS["gunicorn-gevent"]("plain", workers=2, check_log=False) as web:
        pids = web.worker_pids()

        def both() -> dict[int, str]:
            web.get("/hello")
            found = {entry["pid"]: entry["id"] for entry in servers(web)}
            return found if len(found) == 2 else {}

        starving, healthy = pids
        ids = wait_until(both, "both workers in the list")
        told = set()
        for left in (*range(8), 12, 20, 30, 40):
            with descriptors_left(starving, left):
                # Of the healthy one's answers: the other accepts as long as it can, and answers for itself.
                for _ in range(5):
                    listed = attempt(lambda: servers(web))
                    told.add(attempt(lambda: session(web, ids[starving])))
                    assert str(starving) in listed or "50" in listed
            assert web.worker_pids() == pids
            assert session(web, ids[starving])
            assert session(web, ids[healthy])
        assert any("descriptors are left" in words for words in told), told


@pytest.mark.parametrize("left", [20, 22, 24, 28, 32, 36, 40])
def test_a_thread_that_needs_an_event_loop_of_its_own_is_refused_in_words(left: int) -> None:
    with ALL["cheroot"]("plain", check_log=False) as web:
        assert session(web)
        with descriptors_left(web.pid, left):
            attempt(lambda: session(web))
            assert web.get("/hello") == b"hello from %d" % web.pid
        assert session(web)


@pytest.mark.parametrize("left", [6, 30, 45, 60, 90, 150])
@pytest.mark.parametrize("upstream", [False, True], ids=["embedded", "upstream"])
def test_the_application_takes_and_gives_back_at_the_same_time(left: int, upstream: bool) -> None:
    with ExitStack() as stack:
        env = {}
        if upstream:
            rbkit = stack.enter_context(StandIn())
            env = {"RBKIT_PUB_ENDPOINT": rbkit.pub_endpoint, "RBKIT_REQ_ENDPOINT": rbkit.req_endpoint}
            env["RBKIT_CONNECT_TIMEOUT"] = "20"  # a busy machine is no lack of descriptors
        web, pid = stack.enter_context(worker("support.greedy:application()", env))
        with descriptors_left(pid, left), RawClient(web.port) as kept:
            assert kept.request(b"GET /take HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
            for _ in range(15):
                for ask in (lambda: session(web), lambda: servers(web)):
                    try:
                        # libzmq does not tell why it could not connect: that there was no descriptor just then, say.
                        attempt(ask, "not running")
                    except OSError:
                        pass  # gevent had no descriptor to accept with, or was hung up on
                assert kept.request(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
            assert kept.request(b"GET /stop HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
        assert web.worker_pids() == [pid]
        assert session(web)


@pytest.mark.parametrize("left", [1, 2, 5, 12, 20, 30, 45])
def test_a_gateway_with_few_descriptors_says_so_and_goes_on(left: int) -> None:
    with StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as rbkit:
        endpoints = ("--pub-endpoint", rbkit.pub_endpoint, "--req-endpoint", rbkit.req_endpoint)
        with running("gateway", "--bind", "127.0.0.1:0", *endpoints, "--token", TOKEN) as gateway:
            address = f"127.0.0.1:{gateway.port}"

            def watch() -> bytes:
                with connect_rbkit(f"ws://{address}/", token=TOKEN) as client:
                    return client.command("handshake")

            def servers() -> bytes:
                request = Request(f"http://{address}/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"})
                with urlopen(request, timeout=scaled(10)) as response:
                    return response.read()

            with descriptors_left(gateway.process.pid, left):
                attempt(watch)
                attempt(servers)
            assert watch()
