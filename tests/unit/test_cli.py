"""The command line without its processes: table, text, screens, options, errors."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner
from support.clientpeer import answer, collection, peer
from support.waiting import wait_until
from websockets.sync.server import ServerConnection

import rbkit_websocket
from rbkit_websocket import ConnectionClosed, RbkitError, connect
from rbkit_websocket.cli import demo_load, demo_process, gateway, main
from rbkit_websocket.cli.demo_app import create_app, edit_distance, euro, sieve
from rbkit_websocket.cli.demo_load import PATHS, Load, RequestCounter
from rbkit_websocket.cli.demo_process import DemoError, DemoProcess
from rbkit_websocket.cli.gateway import parse_bind
from rbkit_websocket.cli.monitor import Collector, Monitor
from rbkit_websocket.cli.table import Row, Table, hottest
from rbkit_websocket.cli.terminal import Output
from rbkit_websocket.cli.text import clean, fit, short_path, width
from rbkit_websocket.cli.view import Heap, View, draw, plain_lines
from rbkit_websocket.errors import ConfigurationError
from rbkit_websocket.model import Frame, Profile, Stack
from rbkit_websocket.protocol.messages import Event

MAIN = Frame("main", "main", "/srv/app.py", 1, 2)
WORK = Frame("work", "Job.work", "/srv/app.py", 10, 15)
WORK_ELSEWHERE = Frame("work", "Job.work", "/srv/app.py", 10, 17)
HUB = Frame("run", "Hub.run", "/x/lib/python3.11/site-packages/gevent/hub.py", 600, 640)


def profile(*stacks: tuple[int, tuple[Frame, ...]], lost: int = 0) -> Profile:
    return Profile(
        cursor=1,
        running=True,
        clock="wall",
        interval_us=1000,
        samples=len(stacks),
        weight_us=sum(weight for weight, _ in stacks),
        lost_us=lost,
        stacks=tuple(Stack(weight, 1, 1, None, frames) for weight, frames in stacks),
        threads={1: "MainThread"},
    )


def view(**changes: object) -> View:
    facts: dict[str, object] = {
        "title": "demo",
        "url": "ws://127.0.0.1:1/?token=t",
        "seconds": 3,
        "requests": 19.96,
        "clock": "wall",
        "interval_us": 1000,
        "table": Table((Row("Job.work", "/srv/app/job.py", 10, 300, 400),), 400, 600, 50, 10, 0),
        "window": 3,
        "heap": Heap(12, 3, 4.56, 2.0, 50 * 2**20, 123456),
        "connection": "open",
        "lost": 0,
        **changes,
    }
    return View(**facts)  # type: ignore[arg-type]


# The table


def test_self_and_total_time_are_added_up_by_function():
    table = hottest(
        [
            profile((100, (WORK, MAIN)), (50, (WORK_ELSEWHERE, MAIN))),
            profile((30, (MAIN,)), (70, (HUB, MAIN)), lost=5),
        ]
    )
    assert table.rows == (Row("Job.work", "/srv/app.py", 10, 150, 150), Row("main", "/srv/app.py", 1, 30, 180))
    assert (table.busy_us, table.idle_us, table.samples, table.lost_us) == (180, 70, 4, 5)
    assert table.busy_share == 180 / 250
    assert table.share(90) == 0.5


def test_recursion_counts_once():
    assert hottest([profile((10, (WORK, WORK_ELSEWHERE, WORK, MAIN)))]).rows == (
        Row("Job.work", "/srv/app.py", 10, 10, 10),
    )


def test_only_the_event_loop_waiting_is_idle():
    other = Frame("run", "run", "/srv/hub.py", 1, 1)
    callback = (MAIN, HUB)
    table = hottest([profile((1, (other,)), (2, callback), (4, (HUB,)))])
    assert (table.busy_us, table.idle_us) == (3, 4)


def test_parked_threads_are_neither_busy_nor_idle():
    parked = [
        Frame("acquire_with_timeout", "acquire_with_timeout", "/x/site-packages/gevent/_threading.py", 1, 1),
        Frame("wait", "Condition.wait", "/usr/lib/python3.11/threading.py", 1, 1),
        Frame("select", "EpollSelector.select", "/usr/lib/python3.11/selectors.py", 1, 1),
    ]
    running = Frame("run", "Thread.run", "/usr/lib/python3.11/threading.py", 1, 1)
    table = hottest([profile(*((10, (frame,)) for frame in parked), (1, (running,)))])
    assert (table.busy_us, table.idle_us, table.parked_us) == (1, 0, 30)
    assert [row.label for row in table.rows] == ["Thread.run"]


def test_the_table_is_limited_and_in_a_stable_order():
    frames = [Frame(f"f{i}", f"f{i}", "/a.py", i, i) for i in range(9)]
    rows = hottest([profile(*((10, (frame,)) for frame in reversed(frames)))], limit=3).rows
    assert [row.label for row in rows] == ["f0", "f1", "f2"]


def test_nothing_sampled_is_no_division_by_zero():
    table = hottest([])
    assert (table.rows, table.busy_share, table.share(5)) == ((), 0.0, 0.0)
    assert draw(view(table=table), 80, 24)
    assert plain_lines(view(table=table))


# Text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("Job.work", "Job.work"),
        ("\x1b[2J\x1b]0;owned\x07", "?[2J?]0;owned?"),
        ("a\nb\r\nc", "a b c"),
        ("\x9b31m", "?31m"),
        ("\u202egnp.exe", "?gnp.exe"),
        ("\udcff", "?"),
        ("\x00\x7f", "??"),
        ("größe €", "größe €"),
    ],
)
def test_nothing_that_a_terminal_obeys_gets_through(hostile, shown):
    assert clean(hostile) == shown


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [("ab", 4, "ab  "), ("abcd", 4, "abcd"), ("abcde", 4, "abc…"), ("", 0, ""), ("abc", 0, ""), ("日本語", 4, "日… ")],
)
def test_text_fits_its_columns(text, columns, expected):
    assert fit(text, columns) == expected
    assert width(expected) == columns


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("/v/lib/python3.11/site-packages/gevent/hub.py", "gevent/hub.py"),
        ("/usr/lib/python3.11/json/decoder.py", "json/decoder.py"),
        ("/srv/shop/cart/views.py", "cart/views.py"),
        ("<string>", "<string>"),
        ("app.py", "app.py"),
    ],
)
def test_paths_are_short(path, short):
    assert short_path(path) == short


# Screens


def test_the_screen_fits_whatever_the_terminal_is():
    rows = tuple(Row(f"f{i}\x1b[1m" + "x" * 50, "/a/b/c.py", i, 10, 10) for i in range(50))
    wide = view(table=Table(rows, 500, 0, 0, 50, 0), connection="1006: \x1b]52;c;evil\x07")
    for columns, lines in ((80, 24), (20, 5), (1, 1), (200, 60)):
        screen = draw(wide, columns, lines)
        assert len(screen) <= lines
        assert all(width(line) <= columns and line.isprintable() for line in screen)


def test_the_screen_tells_the_figures():
    screen = "\n".join(draw(view(), 120, 24))
    for figure in (
        "requests/s 20.0",
        "busy 40.0%",
        "idle 60.0%",
        "75.0%  100.0%  Job.work",
        "app/job.py:10",
        "50.0 MiB",
    ):
        assert figure in screen


def test_plain_lines_are_pairs_of_key_and_value():
    status, hot = plain_lines(view())
    facts = dict(pair.split("=", 1) for pair in status.split())
    assert facts == {
        "second": "3",
        "requests_per_s": "20.0",
        "busy": "0.400",
        "samples": "10",
        "gc_collections": "12",
        "gc_seen": "3",
        "gc_pause_ms": "4.6",
        "gc_longest_ms": "2.0",
        "rss_bytes": str(50 * 2**20),
        "blocks": "123456",
        "lost": "0",
        "connection": "open",
    }
    assert hot == "hot self=0.750 total=1.000 where=app/job.py:10 function=Job.work"


def test_what_is_not_known_is_a_dash():
    assert "rss_bytes=- blocks=-" in plain_lines(view(heap=Heap(), requests=None))[0]
    assert "requests_per_s=-" in plain_lines(view(heap=Heap(), requests=None))[0]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_redrawn_in_place_and_given_back():
    stream = Tty()

    def fail() -> None:
        with Output(stream) as output:
            output.show(view())
            output.show(view())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    written = stream.getvalue()
    assert written.startswith("\x1b[?1049h\x1b[?25l\x1b[H")
    assert written.count("\x1b[H") == 2
    restored = written.rpartition("\x1b[?25h\x1b[?1049l")[2]
    assert "\x1b" not in restored
    assert "Job.work" in restored


def test_anything_else_gets_plain_lines_without_escapes():
    stream = io.StringIO()
    with Output(stream) as output:
        output.show(view())
    assert stream.getvalue() == "\n".join(plain_lines(view())) + "\n"


def test_a_label_beyond_the_encoding_does_not_stop_the_output():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    with Output(stream) as output:
        output.show(view(title="x", table=Table((Row("größe", "/a.py", 1, 1, 1),), 1, 0, 0, 1, 0)))
    assert b"gr??e" in raw.getvalue() or b"gr?" in raw.getvalue()


# The monitor


def test_collections_and_memory_come_from_events():
    collector = Collector()
    assert collector.heap == Heap()
    for kind, timestamp, payload in (
        (4, 1.0, None),
        (2, 10.0, None),
        (3, 12.0, None),
        (4, 12.5, None),
        (2, 20.0, None),
        (4, 21.0, None),
        (6, 22.0, {"count": 9, "rss": 4096, "heap_live_slots": 17}),
        (6, 23.0, "nonsense"),
        (99, 24.0, None),
    ):
        collector.take(Event(kind, timestamp, payload, {}))
    assert collector.heap == Heap(collections=9, pauses=2, pause_ms=3.5, longest_ms=2.5, rss=4096, blocks=17)


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
        *("use_wall_time", "start_cpu_profiling", "start_memory_profile", "cpu_profile"),
        *("cpu_profile 4", "cpu_profile 5"),
    ]
    assert first.heap.collections == 5
    assert (first.connection, first.requests, first.table.busy_us) == ("open", 1.0, 10)
    assert (second.window, second.table.busy_us) == (2, 20)


# The demo's application, load and process


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
    monkeypatch.setattr(demo_load, "PER_SECOND", 400.0)
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


def test_a_server_that_does_not_start_is_given_up(monkeypatch, instead_of_python):
    monkeypatch.setattr(demo_process, "START_TIMEOUT", 0.2)
    monkeypatch.setattr(demo_process, "STOP_TIMEOUT", 0.2)
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    instead_of_python(ignoring)
    with pytest.raises(DemoError, match=r"did not start within 0\.2 s: it said nothing"), DemoProcess(0, "x", "t"):
        pass


# Options and errors


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("[::1]:0", ("::1", 0)),
        ("example.com:65535", ("example.com", 65535)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
    ],
)
def test_bind_takes_host_and_port(text, address):
    assert parse_bind(text) == address


@pytest.mark.parametrize("text", ["", "8000", ":8000", "h:", "h:x", "h:65536", "::1:80", "[::1]", "h:80 ", "a b:80"])
def test_bind_refuses_anything_else(text):
    with pytest.raises(ConfigurationError, match="--bind"):
        parse_bind(text)


def test_errors_of_this_package_are_one_line_and_code_1(monkeypatch):
    def fail(*args: object) -> None:
        raise RbkitError("it\x1b[2J\nbroke")

    monkeypatch.setattr(gateway, "parse_bind", fail)
    result = CliRunner().invoke(main, ["gateway"])
    assert (result.exit_code, result.output) == (1, "Error: it?[2J broke\n")


def test_any_other_error_stays_a_traceback(monkeypatch):
    def fail(*args: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(gateway, "parse_bind", fail)
    assert isinstance(CliRunner().invoke(main, ["gateway"]).exception, KeyError)


def test_version_and_help():
    assert CliRunner().invoke(main, ["--version"]).output == f"rbkit-websocket {rbkit_websocket.__version__}\n"
    listing = CliRunner().invoke(main, ["--help"]).output
    assert all(name in listing for name in ("demo", "gateway"))
    assert CliRunner().invoke(main, ["nothing"]).exit_code == 2


def test_the_command_line_loads_nothing_that_must_be_patched_first():
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import rbkit_websocket.cli.demo, rbkit_websocket.cli.gateway\n"
        "loaded = {'gevent', 'ssl', 'websocket', 'flask', 'zmq'} & set(sys.modules) - before\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bind", "nonsense"], "--bind"),
        (["--token", "abcdefgh", "--no-token"], "exclude each other"),
    ],
)
def test_gateway_refuses_wrong_options_before_it_serves(arguments, words):
    result = CliRunner().invoke(main, ["gateway", *arguments])
    assert result.exit_code == 1
    assert words in result.output
    assert result.output.count("\n") == 1


def test_demo_refuses_a_port_that_is_none():
    assert CliRunner().invoke(main, ["demo", "--port", "70000"]).exit_code == 2
