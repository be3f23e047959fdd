"""Requests by name under real web servers: a view that blocks the loop, seen through a sibling worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from support import gunicorn_preloading
from support.embeddedpeer import Peer, unpack
from support.rawclient import RbkitConnection, connect_rbkit
from support.servers import SERVERS, THREADED, TOKEN, WebServer
from support.waiting import wait_until

from rbkit_websocket.fleet.records import Record, listing


def records(web: WebServer, workers: int) -> list[Record]:
    """Those of all workers; each starts its server with its first request."""

    def found() -> list[Record] | None:
        web.get("/hello")
        living = listing(web.runtime_dir, web.name)
        return living if len(living) == workers else None

    return wait_until(found, "a server in each worker", timeout=20)


@contextmanager
def request(web: WebServer, path: str, **query: str) -> Iterator[None]:
    thread = threading.Thread(target=web.get, args=(path,), kwargs=query)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def ask(connection: RbkitConnection, command: str) -> dict[str, Any]:
    answer = unpack(connection.command(command))
    assert isinstance(answer, dict)
    return answer


@pytest.mark.smoke
@pytest.mark.parametrize("routes", [False, True], ids=["paths", "routes"])
@pytest.mark.parametrize("framework", ["flask", "django"])
def test_a_view_that_blocks_is_named_through_a_sibling_worker(framework: str, routes: bool) -> None:
    env = {"TEST_ROUTES": "1" if routes else None, "RBKIT_BLOCKED_LOG": "1"}
    with SERVERS["gunicorn-gevent"](framework, workers=2, env=env) as web, ExitStack() as stack:
        peers = {record.id: stack.enter_context(Peer.at(record.endpoint)) for record in records(web, 2)}
        name = {
            (False, "flask"): "GET /users/<int>/block",
            (False, "django"): "GET /users/<int>/block",
            (True, "flask"): "GET /users/<int:number>/block",
            (True, "django"): "GET /users/<int:number>/block",
        }[routes, framework]
        with request(web, "/users/42/block", seconds="3", secret="hidden"):
            victim = wait_until(
                lambda: next((key for key, peer in peers.items() if peer.map("blocked")["now"]), None), "the block"
            )
            # The blocked worker takes no connection, so its sibling carries this one.
            with connect_rbkit(web.url("/", server=victim), token=TOKEN) as session:
                lasting = ask(session, "blocked")["now"]
                assert lasting["request"] == name
                assert "hold_the_loop" in [frame[0] for frame in lasting["stack"]]
                session.command("start_cpu_polling")
                time.sleep(0.3)
                profile = ask(session, "cpu_profile")
                stacks = [entry for entry in profile["stacks"] if entry["request"]]
                assert {entry["request"] for entry in stacks} == {name}
                names = {profile["frames"][index][0] for entry in stacks for index in entry["frames"]}
                assert "hold_the_loop" in names
                running = [entry for entry in ask(session, "stacks")["greenlets"] if entry["state"] == "running"]
                assert [entry["request"] for entry in running] == [name]
                still = "has been blocked for 1."
                wait_until(lambda: still in web.log(), "the line on stderr, while it lasts")
                assert ask(session, "blocked")["now"]
        wait_until(lambda: "was blocked for" in web.log(), "the warning")
        assert f"by {name}, and still is" in web.log()
        assert "hidden" not in "".join(line for line in web.log().splitlines() if "rbkit" in line)


def test_requests_of_plain_threads_are_named_and_nothing_can_be_blocked() -> None:
    with THREADED["gunicorn-gthread"]("flask", workers=1) as web:
        (record,) = records(web, 1)
        with Peer.at(record.endpoint) as peer:
            assert peer.map("blocked")["error"] == "not_applicable"
            peer.ask("use_wall_time")
            peer.ask("start_cpu_profiling")
            with request(web, "/users/7/block", seconds="0.5"):
                pass
            assert "GET /users/<int>/block" in {entry["request"] for entry in peer.map("cpu_profile")["stacks"]}


def test_names_and_log_can_be_switched_off() -> None:
    env = {"RBKIT_REQUEST_NAMES": "off", "RBKIT_BLOCKED_LOG": "0"}
    with SERVERS["gunicorn-gevent"]("flask", env=env) as web:
        (record,) = records(web, 1)
        with Peer.at(record.endpoint) as peer:
            assert peer.map("blocked")["log_limit"] == 0
            peer.ask("use_wall_time")
            peer.ask("start_cpu_profiling")
            with request(web, "/users/7/block", seconds="0.5"):
                pass
            answer = wait_until(lambda: (found := peer.map("blocked"))["count"] and found, "the block")
            assert [entry["request"] for entry in answer["stacks"]] == [None]
            assert {entry["request"] for entry in peer.map("cpu_profile")["stacks"]} == {None}
        assert "blocked for" not in web.log()


def test_greenlets_of_requests_are_forgotten_with_them() -> None:
    with SERVERS["gunicorn-gevent"]("plain") as web:
        (record,) = records(web, 1)
        with Peer.at(record.endpoint) as peer:
            peer.subscribe()
            peer.ask("use_wall_time")
            peer.ask("start_cpu_profiling")
            peer.map("wait_profile on")
            for _ in range(100):
                web.get("/hello")
            greenlets = len(peer.map("stacks")["greenlets"])
            for _ in range(500):
                web.get("/hello")
            assert abs(len(peer.map("stacks")["greenlets"]) - greenlets) < 5


@pytest.mark.parametrize("turned", [False, True], ids=["never turned", "turned before"])
def test_a_master_whose_loop_never_turns_is_not_blocked_and_its_worker_is(turned: bool) -> None:
    env = {"RBKIT_BLOCKED_LOG": "0.2", "TEST_TURNED": "1" if turned else None}
    with SERVERS["gunicorn-gevent"]("plain", env=env, options=["--config", gunicorn_preloading.__file__]) as web:
        web.get("/hello")
        both = wait_until(
            lambda: found if len(found := listing(web.runtime_dir, web.name)) == 2 else None, "two records"
        )
        master, worker = (next(each.endpoint for each in both if (each.pid == web.pid) is it) for it in (True, False))
        with Peer.at(master) as peer:
            began = peer.map("blocked")["since"]
            # Several times what counts as a block has passed, and it has been looked for.
            wait_until(lambda: peer.map("status") and time.time() * 1000 > began + 2000, "some time")
            found = peer.map("blocked")
            assert (found["count"], found["now"]) == (0, None)
            assert found["limit"] > 0
        with Peer.at(worker) as peer:
            peer.map("blocked")
            web.get("/block", seconds="0.6")
            assert wait_until(lambda: peer.map("blocked")["count"], "the worker's block") == 1
        assert f"event loop of process {web.pid}" not in web.log()
