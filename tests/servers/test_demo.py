"""The demo as a real process with its own server."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cliprocess import COMMAND, gone, run, running
from support.ports import free_port
from support.waiting import scaled, wait_until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as independent_connect

from rbkit_websocket import connect


@pytest.fixture(autouse=True)
def _private_directory(runtime_dir: Path) -> Iterator[None]:
    yield
    left = [path.name for path in runtime_dir.iterdir() if path.suffix != ".token"]
    assert not left, f"left in the runtime directory: {left}"


def test_the_demo_runs_what_is_installed_and_not_what_lies_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's line is given in a checkout, whose sources have no extensions."""
    sources = tmp_path / "rbkit_websocket"
    sources.mkdir()
    (sources / "__init__.py").write_text("raise ImportError('the sources in the working directory')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH")
    code, lines, errors = run("demo", "--seconds", "1")
    assert (code, errors) == (0, "")
    assert lines[0].startswith("application http://")


@pytest.mark.smoke
def test_the_demo_shows_a_real_profile_and_ends_by_itself():
    began = time.monotonic()
    code, lines, errors = run("demo", "--seconds", "7")
    assert (code, errors) == (0, "")
    assert time.monotonic() - began < scaled(7 + 6)
    assert re.fullmatch(r"application http://127\.0\.0\.1:\d+/", lines[0])
    dashboard = re.fullmatch(r"dashboard   (http://127\.0\.0\.1:\d+/__rbkit__/)#token=(\S+)( .*)?", lines[1])
    assert dashboard
    websocket = re.fullmatch(r"websocket   ws://127\.0\.0\.1:\d+/\?token=(\S+)  \(subprotocol rbkit\)", lines[2])
    assert websocket
    assert dashboard[2] == websocket[1]

    seconds = [dict(pair.split("=", 1) for pair in line.split()) for line in lines if line.startswith("second=")]
    assert 4 <= len(seconds) <= 7  # a busy machine may miss one
    last = seconds[-1]
    assert 7 <= int(last["second"]) <= scaled(8)
    # On a busy machine the application may miss the deadline of one look.
    rates = [float(line["requests_per_s"]) for line in seconds if line["requests_per_s"] != "-"]
    assert rates[-1] > 5
    assert 0 < float(last["busy"]) <= 1
    assert int(last["samples"]) > 100
    assert int(last["gc_collections"]) > 0
    assert int(last["rss_bytes"]) > 10_000_000
    assert int(last["blocks"]) > 10_000
    assert (last["connection"], last["lost"]) == ("open", "0")

    hot = re.compile(r"hot self=(\d\.\d{3}) total=(\d\.\d{3}) where=(\S+):(\d+) function=(.+)")
    others = ("second=", "application", "dashboard", "websocket")
    rows = [hot.fullmatch(line) for line in lines if not line.startswith(others)]
    assert all(rows)
    functions = {row[5] for row in rows}
    assert functions & {"sieve", "edit_distance"}
    assert any(row[3] == "rbkit_demo/app.py" for row in rows)
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
    port = free_port()
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


@pytest.mark.parametrize("term", ["dumb", "", None], ids=["dumb", "empty", "unset"])
def test_a_terminal_that_obeys_nothing_gets_plain_lines(runtime_dir, term):
    master, slave = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key != "TERM"}
    env.update({"NO_COLOR": "1", **({} if term is None else {"TERM": term})})
    process = subprocess.Popen(
        [*COMMAND, "demo", "--no-load", "--seconds", "2"], stdin=slave, stdout=slave, stderr=slave, env=env
    )
    os.close(slave)
    written = b"".join(iter(lambda: _read_terminal(master), b""))
    os.close(master)
    assert process.wait(scaled(10)) == 0
    assert b"second=" in written
    assert b"\x1b" not in written


def test_on_a_terminal_the_demo_redraws_in_place_and_gives_the_terminal_back(runtime_dir):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 70, 0, 0))
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    env["TERM"] = "xterm"
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
