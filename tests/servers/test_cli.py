"""The command line as real processes: the demo with its own server, the gateway in front of a stand-in."""

from __future__ import annotations

import errno
import fcntl
import http.client
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.standin import StandIn
from support.waiting import scaled, wait_until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as independent_connect

from rbkit_websocket import ConnectionClosed, ConnectionRefused, connect

COMMAND = [sys.executable, "-m", "rbkit_websocket"]


def _environment(arguments: Sequence[str]) -> dict[str, str]:
    """Ours; under load without what has coverage trace child processes: the demo's work is too much for a tracer."""
    traced = arguments[0] != "demo" or "--no-load" in arguments
    return {name: value for name, value in os.environ.items() if traced or not name.startswith("COVERAGE_PROCESS")}


class Running:
    """A process of the command line, its output read line by line as it comes."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**_environment(arguments), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **(env or {})},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def url(self) -> str:
        """The WebSocket's address as printed."""
        return wait_until(
            lambda: next((line.split()[1] for line in self.lines if line.startswith("websocket")), None),
            "the address",
            timeout=20,
        )

    @property
    def port(self) -> int:
        return int(re.search(r":(\d+)/", self.url)[1])

    def servers(self) -> list[psutil.Process]:
        """The processes that this one has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Sends a signal and waits: exit code and standard error."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, timeout: float = 15) -> tuple[int, str]:
        """Exit code and standard error."""
        assert self.process.stderr is not None
        try:
            code = self.process.wait(scaled(timeout))
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # has the fault handler say where it hangs
            raise AssertionError(f"it does not end:\n{self.process.stderr.read()}") from None
        self._reader.join()
        return code, self.process.stderr.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


@contextmanager
def running(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Running]:
    process = Running(*arguments, env=env)
    try:
        yield process
    finally:
        process.close()


def run(*arguments: str) -> tuple[int, list[str], str]:
    """A whole run: exit code, lines of standard output, standard error."""
    with running(*arguments) as process:
        code, errors = process.wait(60)
        return code, process.lines, errors


def gone(processes: list[psutil.Process]) -> None:
    wait_until(lambda: not [p for p in processes if p.is_running() and p.status() != "zombie"], "the server to end")


@pytest.fixture(autouse=True)
def _private_directory(runtime_dir: Path) -> Iterator[None]:
    yield
    left = [path.name for path in runtime_dir.iterdir() if path.suffix != ".token"]
    assert not left, f"left in the runtime directory: {left}"


# demo


@pytest.mark.smoke
def test_the_demo_shows_a_real_profile_and_ends_by_itself():
    began = time.monotonic()
    code, lines, errors = run("demo", "--seconds", "7")
    assert (code, errors) == (0, "")
    assert time.monotonic() - began < scaled(7 + 6)
    assert re.fullmatch(r"application http://127\.0\.0\.1:\d+/", lines[0])
    assert re.fullmatch(r"websocket   ws://127\.0\.0\.1:\d+/\?token=\S+  \(subprotocol rbkit\)", lines[1])

    seconds = [dict(pair.split("=", 1) for pair in line.split()) for line in lines if line.startswith("second=")]
    assert 4 <= len(seconds) <= 7  # a busy machine may miss one
    last = seconds[-1]
    assert last["second"] in ("7", "8")
    assert float(last["requests_per_s"]) > 5
    assert 0 < float(last["busy"]) <= 1
    assert int(last["samples"]) > 100
    assert int(last["gc_collections"]) > 0
    assert int(last["rss_bytes"]) > 10_000_000
    assert int(last["blocks"]) > 10_000
    assert (last["connection"], last["lost"]) == ("open", "0")

    hot = re.compile(r"hot self=(\d\.\d{3}) total=(\d\.\d{3}) where=(\S+):(\d+) function=(.+)")
    rows = [hot.fullmatch(line) for line in lines if not line.startswith(("second=", "application", "websocket"))]
    assert all(rows)
    functions = {row[5] for row in rows}
    assert functions & {"sieve", "edit_distance"}
    assert any(row[3] == "cli/demo_app.py" for row in rows)
    assert not [row for row in rows if row[3] == "gevent/hub.py" and row[5] == "Hub.run"]


def test_the_demos_websocket_is_open_to_others_who_have_the_token():
    with running("demo", "--no-load") as demo:
        wait_until(lambda: any(line.startswith("second=") for line in demo.lines), "a first second", timeout=30)
        with connect(demo.url) as client:
            handshake = client.handshake()
            assert [handshake["pid"]] == [process.pid for process in demo.servers()]
            assert handshake["cpu_profiling_enabled"] == 1
        with independent_connect(demo.url, subprotocols=["rbkit"]) as peer:
            peer.send("ping")
            assert b"0ok" in [peer.recv(timeout=10) for _ in range(2)]
        with pytest.raises(InvalidStatus, match="401"):
            independent_connect(demo.url.partition("?")[0], subprotocols=["rbkit"])
        # The token is no business of those who can list processes.
        token = demo.url.partition("token=")[2]
        assert all(token not in " ".join(process.cmdline()) for process in demo.servers())
        wait_until(lambda: any(line.startswith("second=2") for line in demo.lines), "two seconds", timeout=10)
        assert "requests_per_s=0.0" in next(line for line in demo.lines if line.startswith("second=2"))
        assert demo.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_in_good_order(number):
    with running("demo") as demo:
        wait_until(lambda: any(line.startswith("second=") for line in demo.lines), "a first second", timeout=30)
        servers = demo.servers()
        assert servers
        began = time.monotonic()
        assert demo.end(number) == (0, "")
        assert time.monotonic() - began < scaled(4)
        gone(servers)


def test_a_killed_demo_leaves_no_server_behind():
    with running("demo") as demo:
        wait_until(lambda: any(line.startswith("second=") for line in demo.lines), "a first second", timeout=30)
        servers = demo.servers()
        demo.process.kill()
        demo.process.wait()
        gone(servers)


def test_a_killed_server_ends_the_demo_with_a_word(runtime_dir):
    with running("demo") as demo:
        wait_until(lambda: any(line.startswith("second=") for line in demo.lines), "a first second", timeout=30)
        demo.servers()[0].kill()
        code, errors = demo.wait()
        assert code == 1
        assert errors.startswith("Error: ")
        assert errors.count("\n") == 1


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines, errors = run("demo", "--port", str(port))
    assert (code, lines) == (1, [])
    assert errors.startswith(f"Error: port {port} of 127.0.0.1 is taken")
    assert errors.count("\n") == 1


def test_a_port_can_be_chosen():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with running("demo", "--no-load", "--port", str(port), "--seconds", "1") as demo:
        assert demo.port == port
        assert demo.wait()[0] == 0


def test_a_reader_that_goes_away_ends_the_demo():
    process = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} -m rbkit_websocket demo | head -1"], stdout=subprocess.PIPE, text=True
    )
    output, _ = process.communicate(timeout=scaled(30))
    port = int(re.fullmatch(r"application http://127\.0\.0\.1:(\d+)/\n", output)[1])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_options_of_the_environment_do_not_disturb_the_demo():
    env = {"RBKIT_ENABLED": "0", "RBKIT_TOKEN": "x", "RBKIT_FRAMES": "text", "RBKIT_PUB_ENDPOINT": "nonsense"}
    with running("demo", "--no-load", "--seconds", "1", env=env) as demo:
        assert demo.wait() == (0, "")


def _read_terminal(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError as error:
        if error.errno != errno.EIO:  # how Linux tells that nobody has the terminal open any more
            raise
        return b""


def test_on_a_terminal_the_demo_redraws_in_place_and_gives_the_terminal_back(runtime_dir):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 70, 0, 0))
    env = {key: value for key, value in _environment(["demo"]).items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [*COMMAND, "demo", "--seconds", "3"], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
    )
    os.close(slave)
    written = b"".join(iter(lambda: _read_terminal(master), b""))
    os.close(master)
    assert process.wait(scaled(10)) == 0
    text = written.decode()
    before, _, screens = text.partition("\x1b[?1049h\x1b[?25l")
    assert "ws://" in before
    drawn, _, after = screens.partition("\x1b[?25h\x1b[?1049l")
    frames = drawn.split("\x1b[H")[1:]
    assert len(frames) == 3
    for frame in frames:
        lines = frame.removesuffix("\x1b[J").split("\r\n")
        assert len(lines) <= 19
        assert all(len(line.removesuffix("\x1b[K")) <= 70 for line in lines)
    assert "sieve" in after or "edit_distance" in after
    assert "\x1b" not in after


# gateway

SOMEWHERE = ("--pub-endpoint", "tcp://127.0.0.1:1", "--req-endpoint", "tcp://127.0.0.1:2")


@contextmanager
def gateway(stand_in: StandIn, *options: str, env: dict[str, str] | None = None) -> Iterator[Running]:
    endpoints = ["--pub-endpoint", stand_in.pub_endpoint, "--req-endpoint", stand_in.req_endpoint]
    with running("gateway", "--bind", "127.0.0.1:0", *endpoints, *options, env=env) as process:
        yield process


@pytest.mark.smoke
def test_the_gateway_bridges_to_any_rbkit_server_and_says_goodbye(stand_in):
    with gateway(stand_in) as process, connect(process.url) as client:
        assert client.handshake()["rbkit_protocol_version"] == "2.1"
        assert client.command("trigger_gc") == b"ok"
        stand_in.flood(50)
        events = client.events(scaled(10))
        assert len([next(events) for _ in range(50)]) == 50
        assert client.lost == 0
        code, errors = process.end()
        assert (code, errors) == (0, "")
        assert list(client) == []
        assert isinstance(client.closed, ConnectionClosed)
        assert client.closed.code == 1001


def test_ctrl_c_ends_the_gateway(stand_in):
    with gateway(stand_in) as process:
        assert process.url
        assert process.end(signal.SIGINT) == (0, "")


def test_the_generated_token_is_asked_for_and_kept(stand_in):
    with gateway(stand_in) as process:
        token = process.url.partition("token=")[2]
        assert len(token) > 20
        with pytest.raises(ConnectionRefused) as caught:
            connect(process.url.partition("?")[0])
        assert caught.value.status == 401
        process.end()
    with gateway(stand_in) as process:
        assert process.url.partition("token=")[2] == token
        process.end()


def test_a_token_of_the_environment_is_used(stand_in):
    with gateway(stand_in, env={"RBKIT_TOKEN": "from-the-environment"}) as process:
        assert process.url.endswith("?token=from-the-environment")
        with connect(process.url) as client:
            assert client.command("x") == b"ok"
        process.end()


def test_no_token_opens_the_gateway_with_a_warning(stand_in):
    with gateway(stand_in, "--no-token") as process:
        assert "token" not in process.url
        with connect(process.url) as client:
            assert client.command("x") == b"ok"
        assert "token=False" in process.end()[1]


def test_frames_text_serves_old_browser_clients_and_ours(stand_in):
    with gateway(stand_in, "--frames", "text") as process:
        with independent_connect(process.url, subprotocols=["rbkit"]) as old:
            old.send("trigger_gc")
            assert old.recv(timeout=10) == "0ok"
        with connect(process.url) as client:
            assert client.command("trigger_gc") == b"ok"
        process.end()


def test_foreign_pages_are_refused_unless_allowed(stand_in):
    with gateway(stand_in, "--allowed-origin", "https://ops.example") as process:
        with independent_connect(process.url, subprotocols=["rbkit"], origin="https://ops.example") as page:
            page.send("x")
            assert page.recv(timeout=10) == b"0ok"
        with pytest.raises(InvalidStatus, match="403"):
            independent_connect(process.url, subprotocols=["rbkit"], origin="https://evil.example")
        process.end()


def test_anything_but_a_websocket_is_404(stand_in):
    with gateway(stand_in) as process:
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=scaled(10))
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, b"gateway" in response.read()) == (404, True)
        connection.close()
        assert process.end() == (0, "")  # no access log either


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no Rbkit server given"),
        (["--pub-endpoint", "tcp://127.0.0.1:1"], "go together"),
        (["--pub-endpoint", "nonsense", "--req-endpoint", "tcp://127.0.0.1:1"], "pub_endpoint='nonsense'"),
        (["--bind", "192.0.2.1:0", *SOMEWHERE], "cannot listen on 192.0.2.1:0"),
        (["--bind", "no-such-host.invalid:0", *SOMEWHERE], "cannot listen on no-such-host.invalid:0"),
        (["--token", "short", *SOMEWHERE], "token"),
    ],
)
def test_what_cannot_work_is_one_line(arguments, words):
    code, lines, errors = run("gateway", *arguments)
    assert (code, lines) == (1, [])
    assert errors.startswith("Error: ")
    assert words in errors
    assert errors.count("\n") == 1


def test_a_port_that_is_taken_ends_the_gateway_with_one_line(stand_in):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, lines, errors = run(
            *("gateway", "--bind", address, "--token", "long-enough"),
            *("--pub-endpoint", stand_in.pub_endpoint, "--req-endpoint", stand_in.req_endpoint),
        )
    assert (code, lines, errors) == (1, [], f"Error: cannot listen on {address}: Address already in use\n")


def test_an_rbkit_server_that_is_not_there_is_told_by_a_close_code():
    with running(
        *("gateway", "--bind", "127.0.0.1:0", "--token", "long-enough"),
        *("--pub-endpoint", "tcp://127.0.0.1:1", "--req-endpoint", "tcp://127.0.0.1:1"),
    ) as process:
        with connect(process.url) as client, pytest.raises(ConnectionClosed) as caught:
            client.command("handshake")
        assert (caught.value.code, caught.value.reason) == (1013, "Rbkit server is not running")
        process.end()
