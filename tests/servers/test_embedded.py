"""The embedded server in real web servers: several workers, blocked loops, records that come and go."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psutil
import pytest
from support import gunicorn_started
from support.embeddedpeer import Peer
from support.rawclient import RawClient, RbkitConnection, connect_rbkit, upgrade_request
from support.servers import ALL, SERVERS, TOKEN, WebServer
from support.waiting import scaled, wait_until

from rbkit_websocket.fleet.records import application_key
from rbkit_websocket.protocol.messages import decode_answer, decode_publication

STARTED = ["--config", gunicorn_started.__file__]
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def four() -> Iterator[WebServer]:
    """Four workers whose servers run."""
    with SERVERS["gunicorn-gevent"](workers=4, options=STARTED) as web:
        wait_until(lambda: len(listing(web)) == 4, "four records", timeout=10)
        yield web


def listing(web: WebServer) -> list[dict[str, Any]]:
    """GET /__rbkit__/servers."""
    found = json.loads(web.get("/__rbkit__/servers", headers=BEARER))
    assert found["application"] == web.name
    return found["servers"]


def session(web: WebServer, **query: str) -> Any:
    return connect_rbkit(web.url("/", **query), token=TOKEN)


def handshake(client: RbkitConnection) -> dict[str, Any]:
    answer = decode_answer(client.command("handshake"))
    assert isinstance(answer, dict)
    return answer["payload"]


def extension(client: RbkitConnection, command: str) -> dict[str, Any]:
    answer = decode_answer(client.command(command))
    assert isinstance(answer, dict)
    assert "error" not in answer, answer
    return answer


def records(web: WebServer) -> dict[int, dict[str, Any]]:
    """Records on disk by pid."""
    found = [json.loads(path.read_text()) for path in web.runtime_dir.glob("*.json")]
    return {record["pid"]: record for record in found}


def ask(endpoint: str, command: str) -> dict[str, Any]:
    """The answer to a command sent past every web server."""
    with Peer.at(endpoint) as peer:
        answer = decode_answer(peer.ask(command))
    assert isinstance(answer, dict)
    return answer


def names(profile: dict[str, Any]) -> dict[str, int]:
    """Weight of each function anywhere on a stack of ``cpu_profile``."""
    weights: dict[str, int] = {}
    for stack in profile["stacks"]:
        for name in {profile["frames"][index][0] for index in stack["frames"]}:
            weights[name] = weights.get(name, 0) + stack["weight_us"]
    return weights


# One worker, every server


@pytest.mark.smoke
def test_the_embedded_server_answers_under_every_web_server(server_name: str) -> None:
    with SERVERS[server_name]("flask") as web:
        assert [path.name for path in web.runtime_dir.iterdir()] == ["log"], "nothing before the first request"
        with session(web) as client:
            facts = handshake(client)
            assert (facts["rbkit_protocol_version"], facts["language"]) == ("2.1", "python")
            assert facts["pid"] in web.worker_pids()
            for command in ("start_memory_profile", "stop_memory_profile", "start_cpu_profiling", "use_wall_time"):
                assert client.command(command) == b"ok"
            web.get("/busy", seconds="0.3")
            assert client.command("stop_cpu_profiling") == b"ok"
            assert any(name.endswith("burn_cpu") for name in names(extension(client, "cpu_profile")))
            assert client.command("trigger_gc") == b"ok"
            assert client.command("objectspace_snapshot") == b"ok"
            assert snapshot_size(client) > 10_000
            assert extension(client, "stacks")
    assert not list(web.runtime_dir.glob("*"))


def snapshot_size(client: RbkitConnection) -> int:
    """Reads publications until a dump is complete; the number of its objects."""
    ids: set[int] = set()
    deadline = time.monotonic() + scaled(20)
    while time.monotonic() < deadline:
        for event in decode_publication(client.publication()).events:
            if event.type == 5:
                assert len(event.payload) <= 1000
                ids |= {thing["object_id"] for thing in event.payload}
                if len(ids) == event.extra["complete_message_count"]:
                    return len(ids)
    raise AssertionError(f"the dump never came to its end: {len(ids)} objects")


def test_django_with_its_own_embedded_server() -> None:
    with SERVERS["gunicorn-gevent"]("django") as web, session(web) as client:
        assert handshake(client)["pid"] in web.worker_pids()
        assert b"hello" in web.get("/hello")


def test_preloaded_applications_have_a_server_in_each_worker() -> None:
    with SERVERS["gunicorn-gevent"]("flask", workers=2, preload=True, options=STARTED) as web:
        wait_until(lambda: len(listing(web)) == 2, "two records")
        assert sorted(entry["pid"] for entry in listing(web)) == web.worker_pids()
        for entry in listing(web):
            with session(web, server=entry["id"]) as client:
                assert handshake(client)["pid"] == entry["pid"]


# Several workers


@pytest.mark.smoke
def test_every_worker_is_listed(four: WebServer) -> None:
    servers = listing(four)
    assert sorted(entry["pid"] for entry in servers) == four.worker_pids()
    assert all(entry["alive"] for entry in servers)
    assert len({entry["id"] for entry in servers}) == 4
    assert {entry["application"] for entry in servers} == {four.name}
    assert all(time.time() - 600 < entry["started"] < time.time() + 1 for entry in servers)


def test_the_listing_is_behind_the_token(four: WebServer) -> None:
    for options, status in (
        ({}, 401),
        ({"token": "wrong"}, 401),
        ({"headers": {**BEARER, "Origin": "https://evil.example"}}, 403),
    ):
        with pytest.raises(HTTPError) as caught:
            four.get("/__rbkit__/servers", **options)
        with caught.value as error:
            assert error.code == status
            assert four.name.encode() not in error.read()
    assert four.get("/__rbkit__/servers", token=TOKEN)
    with RawClient(four.port) as client:
        response = client.request(b"POST /__rbkit__/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert response.status == 405
        assert "GET" in response.headers["allow"]


def test_any_worker_is_reached_through_any_other(four: WebServer) -> None:
    for entry in listing(four) * 2:
        with session(four, server=entry["id"]) as client:
            facts = handshake(client)
            assert (facts["pid"], facts["server_id"]) == (entry["pid"], entry["id"])


@pytest.mark.parametrize("server_id", ["1-00000000", "../../etc/passwd", "*", "\x00", "x" * 2000])
def test_a_server_that_nobody_knows_is_1013(four: WebServer, server_id: str) -> None:
    with session(four, server=server_id) as client:
        code, reason = client.closed()
        assert code == 1013
        assert reason.startswith(f"no server {server_id!r} here"[:100])


def on_one_worker(web: WebServer, then: Callable[[int, RawClient], None]) -> None:
    """Calls ``then`` with a worker's pid and a connection that this worker serves."""
    with RawClient(web.port) as connection:
        response = connection.request(b"GET /facts HTTP/1.1\r\nHost: x\r\n\r\n")
        then(json.loads(response.body)["pid"], connection)


@pytest.mark.parametrize(("view", "culprit"), [("busy", "burn_cpu"), ("block", "hold_the_loop")])
def test_a_blocked_worker_answers_and_its_culprit_is_named(four: WebServer, view: str, culprit: str) -> None:
    def watch(pid: int, connection: RawClient) -> None:
        entry = next(entry for entry in listing(four) if entry["pid"] == pid)
        with session_through_another_worker(four, pid, entry["id"]) as client:
            for command in ("stop_cpu_profiling", "use_wall_time", "start_cpu_profiling"):
                assert client.command(command) == b"ok"
            block = scaled(1.5)
            connection.send(b"GET /%s?seconds=%.1f HTTP/1.1\r\nHost: x\r\n\r\n" % (view.encode(), block))
            begin = time.monotonic()
            wait_until(lambda: culprit in str(extension(client, "stacks")), "the request", every=0.02)
            facts = handshake(client)
            assert facts["pid"] == pid
            direct = ask(records(four)[pid]["endpoint"], "handshake")
            assert direct["payload"]["pid"] == pid
            assert time.monotonic() - begin < block - 0.1, "answered only after the loop was free again"
            assert connection.response().status == 200
            weights = names(extension(client, "cpu_profile"))
            assert client.command("stop_cpu_profiling") == b"ok"
            found = max((weight for name, weight in weights.items() if culprit in name), default=0)
            assert found > 700_000, weights

    on_one_worker(four, watch)


def session_through_another_worker(web: WebServer, pid: int, server_id: str) -> Any:
    """A session with the server of ``pid`` that another worker bridges, so that it lives while that one is blocked."""
    victim = psutil.Process(pid)
    # A stopped worker accepts nothing, so whoever answers is another one.
    victim.suspend()
    try:
        manager = session(web, server=server_id)
        client = manager.__enter__()
    finally:
        victim.resume()

    class Open:
        def __enter__(self) -> RbkitConnection:
            return client

        def __exit__(self, *details: Any) -> Any:
            return manager.__exit__(*details)

    return Open()


def test_an_idle_worker_takes_no_cpu(four: WebServer) -> None:
    """Nobody connected: no sampling, no traffic. gunicorn itself wakes once a second."""
    workers = [psutil.Process(pid) for pid in four.worker_pids()]
    before = [sum(worker.cpu_times()[:2]) for worker in workers]
    time.sleep(1)
    spent = [sum(worker.cpu_times()[:2]) - then for worker, then in zip(workers, before, strict=True)]
    assert max(spent) <= scaled(0.03), spent


def test_a_killed_worker_leaves_the_list_and_its_files_vanish() -> None:
    with SERVERS["gunicorn-gevent"](workers=2, options=STARTED) as web:
        wait_until(lambda: len(list(web.runtime_dir.iterdir())) == 5, "two records with a socket each, and the log")
        victim = listing(web)[0]
        left = [path for path in web.runtime_dir.iterdir() if victim["id"] in path.name]
        assert len(left) == 2
        os.kill(victim["pid"], signal.SIGKILL)
        wait_until(lambda: victim["pid"] not in [entry["pid"] for entry in listing(web)], "the record to vanish")
        assert not any(path.exists() for path in left)
        wait_until(lambda: len(listing(web)) == 2, "the next worker", timeout=10)
        assert sorted(entry["pid"] for entry in listing(web)) == web.worker_pids()


# Life on disk


def test_a_clean_end_leaves_no_file() -> None:
    with SERVERS["gunicorn-gevent"](workers=2, options=STARTED) as web:
        wait_until(lambda: len(records(web)) == 2, "two records")
        web.terminate()
        web.wait()
        assert [path.name for path in web.runtime_dir.iterdir()] == ["log"]


def test_what_a_killed_server_left_is_cleaned_by_the_next() -> None:
    shared = Path(f"/tmp/rbx{os.getpid()}")
    shared.mkdir(mode=0o700)
    env = {"RBKIT_NAME": "the-same"}
    try:
        with SERVERS["gunicorn-gevent"](workers=2, options=STARTED, runtime_dir=shared, env=env) as web:
            wait_until(lambda: len(list(shared.glob("*.json"))) == 2, "two records")
            web.kill()
        assert len(list(shared.iterdir())) == 4
        with SERVERS["gunicorn-gevent"](options=STARTED, runtime_dir=shared, env=env) as web:
            wait_until(lambda: len(listing(web)) == 1, "one record")
            wait_until(lambda: len(list(shared.iterdir())) == 2, "nothing but that server's files")
        assert list(shared.iterdir()) == []
    finally:
        for path in shared.iterdir():
            path.unlink()
        shared.rmdir()


def test_a_generated_token_is_printed_once_and_shared_by_all_workers() -> None:
    shared = Path(f"/tmp/rby{os.getpid()}")
    shared.mkdir(mode=0o700)
    env = {"RBKIT_NAME": "the-same", "RBKIT_TOKEN": None}
    try:
        with SERVERS["gunicorn-gevent"](workers=3, options=STARTED, runtime_dir=shared, env=env) as web:
            wait_until(lambda: len(list(shared.glob("*.json"))) == 3, "three records")
            (path,) = shared.glob("*.token")
            token = path.read_text()
            assert web.log().count(token) == 1
            assert f"rbkit: the token stays the same; it is in {path}" in web.log()
            assert path.stat().st_mode & 0o777 == 0o600
            for _ in range(6):
                with connect_rbkit(web.url("/"), token=token) as client:
                    handshake(client)
            with pytest.raises(HTTPError) as caught:
                web.get("/__rbkit__/servers")
            caught.value.close()
            assert caught.value.code == 401
        with SERVERS["gunicorn-gevent"](runtime_dir=shared, env=env) as web:
            with connect_rbkit(web.url("/"), token=token) as client:
                handshake(client)
            assert token not in web.log(), "kept across restarts, printed once"
    finally:
        for path in shared.iterdir():
            path.unlink()
        shared.rmdir()


@pytest.mark.parametrize("server", ["gunicorn-gevent", "gunicorn-gthread", "flask-run"])
def test_a_first_request_that_shows_nothing_of_the_server_gets_the_address(server: str) -> None:
    with ALL[server](env={"RBKIT_TOKEN": None}) as web, RawClient(web.port) as client:
        head = b"POST /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.request(head + b"2\r\nhi\r\n0\r\n\r\n")
        wait_until(lambda: "the token stays the same" in web.log(), "the words about the token")
        assert re.search(r"watch this application at http://\S+/__rbkit__/#token=\S+", web.log())
        assert "cannot be watched here" not in web.log()


def test_no_token_at_all_is_said_aloud() -> None:
    with SERVERS["pywsgi"](env={"RBKIT_TOKEN": "off"}) as web, connect_rbkit(web.url("/")) as client:
        handshake(client)
        assert "token=False" in web.log()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda base: Path("/dev/null/x"), "cannot be used (Not a directory)"),
        (lambda base: base / ("x" * 80), "is too long for a Unix socket"),
        (lambda base: link(base), "is no directory (a symbolic link is none either)"),
        (lambda base: opened(base), "is open to others (mode 755)"),
        (lambda base: Path("/proc/sys/rbkit"), "cannot be used"),
    ],
    ids=["no directory", "too long", "symbolic link", "open to others", "read-only"],
)
def test_an_unusable_runtime_directory_leaves_the_application_alone(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    directory = make(tmp_path)
    with SERVERS["pywsgi"](env={"RBKIT_RUNTIME_DIR": str(directory)}) as web:
        assert b"hello" in web.get("/hello")
        with session(web) as client:
            code, reason = client.closed()
            assert code == 1013
            assert reason.startswith("Rbkit server is not running")
        with pytest.raises(HTTPError) as caught:
            web.get("/__rbkit__/servers", headers=BEARER)
        with caught.value as error:
            assert error.code == 503
            assert words in error.read().decode()
        assert b"hello" in web.get("/hello")
        log = web.log()
        assert str(directory) in log
        assert words in log
        assert "set RBKIT_RUNTIME_DIR" in log or "chmod 700" in log


def test_junk_in_the_runtime_directory_stops_neither_start_nor_list(runtime_dir: Path) -> None:
    key = application_key("shop")
    for number, make in enumerate((os.mkfifo, os.mkdir, lambda path: path.write_text("[" * 30_000))):
        for pid in (1, os.getpid()):
            make(runtime_dir / f"{key}-{pid}-{number:08x}.json")
    env = {"RBKIT_RUNTIME_DIR": str(runtime_dir), "RBKIT_NAME": "shop"}
    with SERVERS["gunicorn-gevent"](workers=2, options=STARTED, env=env) as web:
        wait_until(
            lambda: len(json.loads(web.get("/__rbkit__/servers", headers=BEARER))["servers"]) == 2, "two records", 10
        )
        with session(web) as client:
            assert handshake(client)["pid"]
        fifo = f"{key}-{os.getpid()}-00000000.json"
        assert web.log().count(f"{fifo} is no record of a server") <= 3, "once a process"


def link(base: Path) -> Path:
    (base / "real").mkdir(mode=0o700)
    (base / "link").symlink_to(base / "real")
    return base / "link"


def opened(base: Path) -> Path:
    (base / "open").mkdir(mode=0o755)
    (base / "open").chmod(0o755)
    return base / "open"


def test_authorize_alone_takes_the_tokens_place() -> None:
    env = {"RBKIT_TOKEN": None, "TEST_AUTHORIZE": "/staff"}
    with SERVERS["pywsgi-websockethandler"](env=env) as web:
        with connect_rbkit(web.url("/staff")) as client:
            handshake(client)
        with RawClient(web.port) as raw:
            assert raw.request(upgrade_request("/public")).status == 403
        assert not list(web.runtime_dir.glob("*.token"))


def test_what_a_command_started_stops_after_the_last_client_left() -> None:
    with SERVERS["pywsgi"](env={"RBKIT_LINGER": "0.3"}) as web:
        with session(web) as client:
            client.command("start_cpu_profiling")
            client.command("start_memory_profile")
            assert handshake(client)["cpu_profiling_enabled"] == 1
        (record,) = records(web).values()

        def stopped() -> bool:
            facts = ask(record["endpoint"], "handshake")["payload"]
            return not (facts["cpu_profiling_enabled"] or facts["object_trace_enabled"])

        wait_until(stopped, "the profilers to stop", every=0.05)
        assert json.loads(web.get("/facts"))["gc_callbacks"] == 0


def test_what_a_command_started_lives_on_for_who_comes_back_in_time() -> None:
    with SERVERS["pywsgi"](env={"RBKIT_LINGER": "5"}) as web:
        with session(web) as client:
            client.command("start_cpu_profiling")
        with session(web) as client:
            assert handshake(client)["cpu_profiling_enabled"] == 1


def test_what_a_session_wishes_ends_with_it() -> None:
    with SERVERS["gunicorn-gevent"](options=STARTED) as web, session(web) as stays:
        extension(stays, "start_cpu_polling")
        with session(web) as goes:
            assert extension(goes, "set_cpu_interval 5000")["interval_us"] == 5000
            assert extension(goes, "wait_profile on")["wanted"] is True
            extension(goes, "cpu_profile")
            assert extension(stays, "wait_profile off") == {"wanted": False, "active": True}
            assert extension(stays, "set_cpu_interval 7000")["interval_us"] == 5000
        # At once: long before its silence would tell.
        wait_until(lambda: extension(stays, "cpu_profile")["interval_us"] == 7000, "the interval of who stays", 5)
        assert extension(stays, "wait_profile off") == {"wanted": False, "active": False}
