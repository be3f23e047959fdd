"""The list of servers: what it counts, and whether it tells the truth while workers come and go."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest
import websockets.exceptions
from support import gunicorn_started
from support.chaos import BEARER, Chaos
from support.rawclient import RawClient, connect_rbkit
from support.servers import SERVERS, TOKEN, UNSUPPORTED, WebServer, alive
from support.waiting import scaled, wait_until

from rbkit_websocket.protocol.messages import decode_answer

STARTED = ["--config", gunicorn_started.__file__]


def listing(web: WebServer) -> list[dict[str, Any]]:
    return json.loads(web.get("/__rbkit__/servers", headers=BEARER))["servers"]


def total(web: WebServer, key: str) -> int:
    return sum(entry[key] for entry in listing(web))


def handshake(client: Any) -> dict[str, Any]:
    answer = decode_answer(client.command("handshake"))
    assert isinstance(answer, dict)
    return answer["payload"]


@pytest.fixture(scope="module")
def two() -> Iterator[WebServer]:
    """Two workers whose servers run."""
    with SERVERS["gunicorn-gevent"](workers=2, options=STARTED) as web:
        wait_until(lambda: len(listing(web)) == 2, "two records", timeout=10)
        yield web


@contextmanager
def requests(web: WebServer, path: str, count: int) -> Iterator[None]:
    """So many requests on their way; reads their answers at the end."""
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(web.port)) for _ in range(count)]
        for client in clients:
            client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield
        for client in clients:
            assert client.response().status == 200


def test_the_list_tells_memory_requests_and_sessions(two: WebServer) -> None:
    for entry in listing(two):
        # The page that lists is a request as well, and none of the application's.
        assert (entry["requests"], entry["sessions"], entry["name"]) == (0, 0, None)
        real = psutil.Process(entry["pid"]).memory_info().rss
        assert abs(entry["rss"] - real) < 0.2 * real
    with requests(two, "/nap?seconds=1", 7):
        wait_until(lambda: total(two, "requests") == 7, "seven requests in the list")
    wait_until(lambda: total(two, "requests") == 0, "no request in the list")
    with ExitStack() as stack:
        for _ in range(3):
            handshake(stack.enter_context(connect_rbkit(two.url("/"), token=TOKEN)))
        assert (total(two, "sessions"), total(two, "requests")) == (3, 0)
    wait_until(lambda: total(two, "sessions") == 0, "no session in the list")


def test_requests_are_counted_while_a_profiler_runs_too(two: WebServer) -> None:
    entry = listing(two)[0]
    with connect_rbkit(two.url("/", server=entry["id"]), token=TOKEN) as client:
        assert client.command("start_cpu_profiling") == b"ok"
        with requests(two, "/nap?seconds=0.7", 5):
            wait_until(lambda: total(two, "requests") == 5, "five requests in the list")
        assert client.command("stop_cpu_profiling") == b"ok"


def test_a_blocked_worker_is_counted_and_a_stopped_one_listed_without_figures(two: WebServer) -> None:
    with RawClient(two.port) as connection:
        pid = json.loads(connection.request(b"GET /facts HTTP/1.1\r\nHost: x\r\n\r\n").body)["pid"]
        worker = psutil.Process(pid)
        other = next(entry["pid"] for entry in listing(two) if entry["pid"] != pid)
        worker.suspend()
        try:
            # Whoever answers now is the other one. It waits for the stopped one, though not for long.
            begin = time.monotonic()
            entries = {entry["pid"]: entry for entry in listing(two)}
            assert time.monotonic() - begin < scaled(1.5)
            assert (entries[pid]["alive"], entries[pid]["problem"]) == (False, "does not answer within 0.5 s")
            assert (entries[pid]["rss"], entries[pid]["requests"], entries[pid]["sessions"]) == (None, None, None)
            assert entries[other]["rss"] > 0
            # The one asked of is stopped, so this stays with it.
            connection.send(b"GET /block?seconds=1.2 HTTP/1.1\r\nHost: x\r\n\r\n")
            with connect_rbkit(two.url("/", server=entries[pid]["id"]), token=TOKEN) as client:
                worker.resume()

                def counted() -> bool:
                    answer = decode_answer(client.command("status"))
                    assert isinstance(answer, dict)
                    return answer["requests"] == 1

                wait_until(counted, "the blocked worker to count the request that blocks it")
        finally:
            worker.resume()
        assert connection.response().status == 200


def test_servers_whose_sockets_cannot_be_had_list_as_well() -> None:
    # No event loop there: a thread waits for the answers.
    with UNSUPPORTED["gunicorn-sync"](workers=2, options=STARTED) as web:
        wait_until(lambda: len(listing(web)) == 2, "two records", timeout=10)
        for entry in listing(web):
            assert entry["rss"] > 0
            assert (entry["requests"], entry["sessions"]) == (0, 0)


def test_requests_that_are_not_named_are_not_counted() -> None:
    with SERVERS["pywsgi"](env={"RBKIT_REQUEST_NAMES": "0"}) as web:
        (entry,) = listing(web)
        assert entry["requests"] is None
        assert entry["sessions"] == 0


def test_two_applications_of_one_user_do_not_see_each_other(two: WebServer) -> None:
    with SERVERS["pywsgi"](runtime_dir=two.runtime_dir) as web:
        (entry,) = listing(web)
        assert entry["pid"] == web.pid
        assert {entry["pid"] for entry in listing(two)} == set(two.worker_pids())
        with connect_rbkit(two.url("/", server=entry["id"]), token=TOKEN) as client:
            assert client.closed()[0] == 1013


def chaos(kills: int, reloads: int) -> None:
    """Kills one worker a second and reloads all the time, so often; see :mod:`support.chaos`."""
    with SERVERS["gunicorn-gevent"](workers=4, options=STARTED, graceful_timeout=5) as web:
        wait_until(lambda: len(listing(web)) == 4, "four records", timeout=10)
        waits: list[float] = []
        refused = 0
        wrong: list[str] = []
        with Chaos(web).running() as storm:
            while len(storm.killed) < kills or storm.reloads < reloads or not refused:
                waits.append(reach_a_living_server(web, storm, wrong, by_id=len(waits) % 2 == 1))
                gone = [pid for pid in storm.killed if pid in storm.ids and not alive(pid)]
                if gone:
                    refused += is_refused(web, storm.ids[gone[-1]])
        # What happened, for those who run this by hand with -rP.
        print(
            f"{len(storm.killed)} killed, {storm.reloads} reloads, {storm.answered} requests, {storm.listings} lists: "
            f"stale {storm.stale:.2f} s, missing {storm.missing:.2f} s; {len(waits)} sessions, "
            f"the slowest after {max(waits):.2f} s, {refused} refused"
        )
        assert storm.listings > kills
        assert storm.stale <= scaled(2)
        assert storm.missing <= scaled(2)
        assert not wrong
        # Not the slowest: a reload leaves no worker at all until the new ones have imported the application.
        assert statistics.median(waits) <= scaled(2)

        # The last reload may only begin now, so all of it is one condition.
        def settled() -> bool:
            listed = {entry["id"]: entry["pid"] for entry in listing(web)}
            files = [path for path in web.runtime_dir.iterdir() if path.name != "log"]
            return (
                len(listed) == 4
                and sorted(listed.values()) == web.worker_pids()
                and len(files) == 8
                and {path.stem.partition("-")[2] for path in files} == set(listed)
            )

        wait_until(settled, "four workers again, and nothing left of those before", timeout=20)


def reach_a_living_server(web: WebServer, storm: Chaos, wrong: list[str], *, by_id: bool) -> float:
    """Connects until a server answers, as a client does whose connection is lost; the seconds it took.

    ``wrong`` gets what the client was told although the server that it wanted lived.
    """
    begin = time.monotonic()
    while True:
        chosen = storm.listing()[-1] if by_id else None
        query = {"server": chosen["id"]} if chosen else {}
        try:
            with connect_rbkit(web.url("/", **query), token=TOKEN) as client:
                facts = handshake(client)
        except websockets.exceptions.ConnectionClosed as error:
            # 1001 is a worker that is reloaded, no close frame at all one that was killed.
            if error.rcvd is not None and error.rcvd.code != 1001 and (chosen is None or still_there(storm, chosen)):
                wrong.append(str(error))
            continue
        except (OSError, EOFError, websockets.exceptions.WebSocketException):
            continue  # killed before it could answer the upgrade
        assert chosen is None or facts["server_id"] == chosen["id"]
        return time.monotonic() - begin


def still_there(storm: Chaos, chosen: dict[str, Any]) -> bool:
    # Not whether the process is there: it takes its time to end, with its server gone.
    return any(entry["id"] == chosen["id"] for entry in storm.listing())


def is_refused(web: WebServer, server_id: str) -> bool:
    """Asks for a server that is dead; False when the worker that is asked dies as well."""
    try:
        with connect_rbkit(web.url("/", server=server_id), token=TOKEN) as client:
            code, reason = client.closed()
    except (OSError, EOFError, websockets.exceptions.WebSocketException):
        return False
    if code in (1001, 1006):
        return False
    assert code == 1013
    assert f"no server '{server_id}' here" in reason
    assert "/__rbkit__/servers lists them" in reason
    return True


@pytest.mark.long
def test_the_list_is_true_while_workers_are_killed_and_reloaded() -> None:
    chaos(kills=5, reloads=2)


@pytest.mark.timing
@pytest.mark.timeout(400)
def test_the_list_is_true_for_minutes() -> None:
    chaos(kills=100, reloads=30)
