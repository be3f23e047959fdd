"""The demo's parts: monitor, application, load, process."""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner
from support.clientpeer import answer, collection, peer
from support.waiting import scaled, wait_until
from websockets.sync.server import ServerConnection

from rbkit_websocket import ConnectionClosed, connect
from rbkit_websocket.cli import demo_load, demo_process, main
from rbkit_websocket.cli.demo_app import create_app, edit_distance, euro, sieve
from rbkit_websocket.cli.demo_load import PATHS, Load, RequestCounter
from rbkit_websocket.cli.demo_process import DemoError, DemoProcess, DemoStopped
from rbkit_websocket.cli.monitor import Collector, Monitor
from rbkit_websocket.cli.view import HeapFigures
from rbkit_websocket.model import Frame
from rbkit_websocket.protocol.messages import Event

WORK = Frame("work", "Job.work", "/srv/app.py", 10, 15)


def test_collections_and_memory_come_from_events():
    collector = Collector()
    assert collector.heap == HeapFigures()
    for kind, timestamp, payload in (
        (3, 1.0, None),
        (2, 10.0, None),
        (3, 12.5, None),
        (4, 1900.0, None),  # a sweep beside the program
        (2, 2000.0, None),
        (3, 2001.0, None),
        (6, 22.0, {"count": 9, "rss": 4096, "total_memsize": 1, "heap_live_slots": 17}),
        (6, 23.0, "nonsense"),
        (99, 24.0, None),
    ):
        collector.take(Event(kind, timestamp, payload, {}))
    assert collector.heap == HeapFigures(collections=9, pauses=2, pause_ms=3.5, longest_ms=2.5, rss=4096, blocks=17)


def test_the_monitor_polls_from_cursor_to_cursor():
    commands = []

    def handler(connection: ServerConnection) -> None:
        for command in connection:
            commands.append(command)
            if not command.startswith("cpu_profile"):
                connection.send(b"0ok")
                continue
            connection.send(collection(len(commands), {0: 6, 1: 1.0, 2: {"count": 5}}))
            connection.send(
                answer(
                    cursor=len(commands),
                    running=True,
                    clock="wall",
                    interval_us=1000,
                    samples=1,
                    frames=[list(WORK)],
                    stacks=[{"weight_us": 10, "count": 1, "thread": 4711, "request": None, "frames": [0]}],
                    threads={4711: "MainThread"},
                )
            )

    with peer(handler) as server, connect(server.url) as client:
        monitor = Monitor(client, "title", server.url)
        monitor.start()
        monitor.listen(0.05)
        first = monitor.poll(1.0)
        monitor.listen(-1)
        second = monitor.poll(None)
        client.close()
        with pytest.raises(ConnectionClosed):
            monitor.listen(10)
    assert commands == [
        # A server that does not know a command answers ok.
        *("start_memory_profile", "start_cpu_polling", "use_wall_time", "start_cpu_profiling", "cpu_profile"),
        *("cpu_profile 5", "cpu_profile 6"),
    ]
    assert first.heap.collections == 5
    assert (first.connection, first.requests, first.table.busy_us) == ("open", 1.0, 10)
    assert (second.window, second.table.busy_us) == (2, 20)


def test_the_demos_pages_answer_and_are_counted():
    client = create_app().test_client()
    for path in sorted({*PATHS}):
        assert client.get(path).status_code == 200, path
    assert client.get("/stats").json == {"requests": len({*PATHS}), "pages": dict.fromkeys(sorted({*PATHS}), 1)}
    page = client.get("/").text
    assert all(f'href="{path}"' in page for path in {*PATHS, "/stats"})
    assert client.get("/nothing").status_code == 404
    assert client.get("/stats").json["requests"] == len({*PATHS}) + 1


def test_the_demos_work_is_real():
    assert sieve(30) == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "ab") == 2
    assert euro(5) == "000,05 €"


def test_the_demos_leak_leaks_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("rbkit_websocket.cli.demo_app._LEAK_LIMIT", 200)
    client = create_app().test_client()
    assert [client.get("/leak").json["leaked"] for _ in range(4)] == [100, 200, 200, 200]


class Counting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        if len(self.server.seen) == 3:  # type: ignore[attr-defined]
            self.close_connection = True
            return
        body = b'{"requests": 7}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_load_asks_for_every_page_and_survives_a_lost_connection(web, monkeypatch):
    monkeypatch.setattr(demo_load, "REQUESTS_PER_SECOND", 400.0)
    with Load(web.server_port):
        wait_until(lambda: len(web.seen) > 2 * len(PATHS), "the load's requests")
    assert set(web.seen) == set(PATHS)


def test_the_load_keeps_its_pace(web):
    with Load(web.server_port):
        wait_until(lambda: len(web.seen) >= 4, "the load's requests")
        threading.Event().wait(1.0)
        assert len(web.seen) <= 4 + 20 + 8


def test_requests_a_second_come_from_the_applications_counter(web):
    counter = RequestCounter(web.server_port)
    assert counter.per_second() > 0
    assert counter.per_second() == 0
    assert counter.per_second() is None  # the connection broke
    assert counter.per_second() == 0
    counter.close()


def test_without_flask_the_demo_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(demo_process, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["demo", "--seconds", "1"])
    assert result.exit_code == 1
    assert "pip install 'rbkit_websocket[demo]'" in result.output


@pytest.fixture
def instead_of_python(monkeypatch, tmp_path):
    """Has the demo's process run a script of the test's."""

    def run(source: str) -> None:
        (tmp_path / "source.py").write_text(source)
        path = tmp_path / "python"
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/source.py"\n')
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return run


def test_a_server_that_ends_early_is_reported_with_its_last_words(instead_of_python):
    instead_of_python("import sys; sys.exit('it\\x1b[2J broke')")
    with pytest.raises(DemoError, match=r"ended with code 1: it\?\[2J broke"), DemoProcess(0, "x", "t"):
        pass


def test_a_start_that_is_not_wanted_any_more_is_not_awaited(instead_of_python):
    instead_of_python("import time; time.sleep(60)")
    asked = threading.Event()
    timer = threading.Timer(0.3, asked.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(DemoStopped), DemoProcess(0, "x", "t", asked.is_set):
        pass
    timer.join()
    assert time.monotonic() - began < scaled(5)


def test_a_server_that_does_not_start_is_given_up(monkeypatch, instead_of_python):
    monkeypatch.setattr(demo_process, "START_TIMEOUT", 0.2)
    monkeypatch.setattr(demo_process, "STOP_TIMEOUT", 0.2)
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    instead_of_python(ignoring)
    with pytest.raises(DemoError, match=r"did not start within 0\.2 s: it said nothing"), DemoProcess(0, "x", "t"):
        pass
