"""Rbkit's API of three calls, and what the middleware asks for: one server a process, whoever starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.embeddedpeer import Peer
from support.ports import free_port
from support.waiting import wait_until

from rbkit_websocket.errors import ConfigurationError, RuntimeDirectoryError, ServerStartError
from rbkit_websocket.fleet import records
from rbkit_websocket.options.table import Settings
from rbkit_websocket.server import Server, current_server, ensure_embedded, start_profiling, start_server, stop_server

CANNOT_START = (
    "Rbkit server couldn't bind to socket, check if it is already running. Profiling data will not be available.\n"
)
CANNOT_STOP = "Cannot stop Rbkit server. Is it running?\n"


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    yield
    if current_server() is not None:
        stop_server()


def tcp(port: int) -> str:
    return f"tcp://127.0.0.1:{port}"


@pytest.mark.smoke
def test_start_server_binds_the_ports_and_stop_server_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    pub, req = free_port(), free_port()
    server = start_server(pub, req)
    assert isinstance(server, Server)
    with Peer(tcp(pub), tcp(req)) as peer:
        payload = peer.handshake()
    assert payload == server.status
    assert payload["object_trace_enabled"] == payload["cpu_profiling_enabled"] == 0
    assert stop_server() is True
    assert not server.running
    assert capsys.readouterr().err == ""


def test_ports_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pub, req = free_port(), free_port()
    monkeypatch.setenv("RBKIT_PUB_PORT", str(pub))
    monkeypatch.setenv("RBKIT_REQ_PORT", str(req))
    server = start_server()
    assert server
    assert (server.pub_endpoints, server.req_endpoints) == ([tcp(pub)], [tcp(req)])


def test_none_turns_a_socket_off() -> None:
    server = start_server(None, None)
    assert server
    assert (server.pub_endpoints, server.req_endpoints) == ([], [])


@pytest.mark.parametrize("port", [0, 80, 1023, 65001, "http", -5555, True])
def test_a_port_that_is_none_is_an_error(port: int) -> None:
    with pytest.raises(ConfigurationError, match="Invalid port value"):
        start_server(port, None)
    assert current_server() is None


def test_starting_twice_says_so_and_returns_false(capsys: pytest.CaptureFixture[str]) -> None:
    first = start_server(None, None)
    assert start_server(None, None) is False
    assert start_profiling(None, None) is False
    assert capsys.readouterr().err == CANNOT_START * 2
    assert current_server() is first


def test_a_port_in_use_says_so_and_returns_false(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert start_server(None, port) is False
    said, why = capsys.readouterr().err.splitlines()
    assert said == CANNOT_START.strip()
    assert why.startswith("rbkit: the embedded Rbkit server cannot start: Address already in use")
    assert f"tcp://127.0.0.1:{port}" in why
    assert current_server() is None


def test_stopping_what_does_not_run_says_so_and_returns_false(capsys: pytest.CaptureFixture[str]) -> None:
    assert stop_server() is False
    assert capsys.readouterr().err == CANNOT_STOP


def test_start_and_stop_twenty_times_leaves_no_thread_and_no_descriptor() -> None:
    pub, req = free_port(), free_port()
    counts = []
    for _ in range(20):
        assert start_profiling(pub, req)
        assert stop_server()
        counts.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
    assert len(set(counts[2:])) == 1


def test_start_profiling_switches_on_and_stays_on() -> None:
    server = start_profiling(None, None)
    assert server
    wait_until(lambda: server.status["cpu_profiling_enabled"], "the profilers")
    assert server.status["object_trace_enabled"] == 1
    assert server.status["clock_type"] == "wall"
    assert not server.profiling.cpu._by_command
    assert not server.profiling.memory._by_command
    server.process_incoming_request("stop_cpu_profiling")
    wait_until(lambda: not server.status["cpu_profiling_enabled"], "the sampler's end")
    # The next start by a command has the command's default clock.
    assert server.status["clock_type"] == "cpu"


def test_start_profiling_switches_on_only_what_it_is_told() -> None:
    server = start_profiling(None, None, False, False, True, "cpu", "sampling", 5000)
    assert server
    wait_until(lambda: server.status["cpu_profiling_enabled"], "the sampler")
    assert server.status["object_trace_enabled"] == 0
    assert server.status["clock_type"] == "cpu"
    assert server.status["cpu_interval_us"] == "5000"


@pytest.mark.parametrize(
    "options",
    [{"clock_type": "sun"}, {"cpu_profiling_mode": "tracing"}, {"cpu_sampling_interval_usec": 0}],
)
def test_arguments_that_cannot_work_are_errors(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        start_profiling(None, None, **options)  # type: ignore[arg-type]
    assert current_server() is None


@pytest.mark.parametrize("by_variable", [False, True])
def test_start_server_takes_the_options_of_the_embedded_server(
    monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    options: dict[str, Any] = {"snapshot_fork": False, "snapshot_pause": False, "linger": 3.5, "snapshot_rate": 123_456}
    if by_variable:
        for name, value in options.items():
            monkeypatch.setenv(f"RBKIT_{name.upper()}", str(value))
    server = start_server(None, None, **({} if by_variable else options))
    assert server
    assert (server.heap.fork, server.heap._pause) == (False, False)
    assert (server.profiling.lingering.seconds, server.dumps._rate) == (3.5, 123_456)


def test_start_server_refuses_what_is_no_option_of_its() -> None:
    with pytest.raises(TypeError, match="mount is no option of the embedded server"):
        start_server(None, None, mount="/x")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="linger=-1: give a number from 0 to 86400"):
        start_profiling(None, None, linger=-1)
    assert current_server() is None


def test_options_that_come_too_late_are_said(caplog: pytest.LogCaptureFixture, runtime_dir: Path) -> None:
    first = Settings.from_options({}, name="shop", linger=5)
    ensure_embedded(first)
    with caplog.at_level("WARNING"):
        ensure_embedded(first)
        ensure_embedded(Settings.from_options({}, name="blog", linger=5, token=False))
        assert not caplog.records
        late = Settings.from_options({}, name="shop", linger=7, snapshot_fork=False)
        for _ in range(2):
            ensure_embedded(late)
    (record,) = caplog.records
    assert "linger=7.0 (in force: 5.0), snapshot_fork=False (in force: True): no effect" in record.getMessage()


def test_a_middleware_behind_start_server_is_told_what_has_no_effect(
    caplog: pytest.LogCaptureFixture, runtime_dir: Path
) -> None:
    assert start_server(None, None)
    with caplog.at_level("WARNING"):
        ensure_embedded(Settings.from_options({}, name="shop", pub_port=free_port()))
    (record,) = caplog.records
    assert "in force: None): no effect, since the embedded server of this process runs already" in record.getMessage()


def test_ensure_embedded_starts_one_at_a_unix_socket_with_a_record(runtime_dir: Path) -> None:
    settings = Settings(name="shop")
    address = ensure_embedded(settings)
    assert ensure_embedded(settings) is address
    assert address.endpoint.startswith(f"unix://{runtime_dir}/")
    (record,) = records.listing(runtime_dir, "shop")
    assert (record.endpoint, record.id) == (address.endpoint, address.id)
    assert record.pid == os.getpid()
    with Peer.at(address.endpoint) as peer:
        payload = peer.handshake()
    assert payload["application"] == "shop"
    assert payload["server_id"] == address.id
    assert stop_server() is True
    assert list(runtime_dir.iterdir()) == []


@pytest.mark.parametrize("lost", ["everything", "*.json", "*.sock", "the directory"])
def test_files_that_somebody_removed_come_back(runtime_dir: Path, lost: str) -> None:
    settings, other = Settings(name="shop"), Settings(name="blog")
    first = ensure_embedded(settings)
    ensure_embedded(other)
    for path in list(runtime_dir.glob(lost if lost.startswith("*") else "*")):
        path.unlink()
    if lost == "the directory":
        runtime_dir.rmdir()
    second = ensure_embedded(settings)
    assert (second.id == first.id) == (lost == "*.json"), "another identity with other sockets only"
    assert ensure_embedded(settings) is second
    for name, address in (("shop", second), ("blog", ensure_embedded(other))):
        (record,) = records.listing(runtime_dir, name)
        assert (record.id, record.endpoint) == (second.id, address.endpoint)
        with Peer.at(address.endpoint) as peer:
            assert peer.handshake()["server_id"] == second.id
    stop_server()
    assert list(runtime_dir.iterdir()) == []


def test_ensure_embedded_again_after_a_stop_starts_another(runtime_dir: Path) -> None:
    settings = Settings(name="shop")
    first = ensure_embedded(settings)
    stop_server()
    second = ensure_embedded(settings)
    assert first.id != second.id


def test_two_applications_of_a_process_share_the_server(runtime_dir: Path) -> None:
    shop = ensure_embedded(Settings(name="shop"))
    blog = ensure_embedded(Settings(name="blog"))
    assert shop == blog
    assert len(records.listing(runtime_dir, "shop")) == len(records.listing(runtime_dir, "blog")) == 1
    stop_server()
    assert list(runtime_dir.iterdir()) == []


def test_ensure_embedded_gives_a_server_that_runs_already_sockets_for_its_siblings(runtime_dir: Path) -> None:
    pub, req = free_port(), free_port()
    server = start_server(pub, req)
    assert server
    address = ensure_embedded(Settings(name="shop"))
    assert (address.id, address.path) == (server.id, server.path)
    for endpoint in (tcp(req), address.endpoint):
        with Peer.at(endpoint) as peer:
            assert peer.handshake()["server_id"] == server.id
    (record,) = records.listing(runtime_dir, "shop")
    assert record.endpoint == address.endpoint
    assert address.path.startswith(f"{runtime_dir}/")


def test_ports_of_the_settings_are_bound_too(runtime_dir: Path) -> None:
    req = free_port()
    ensure_embedded(Settings(name="shop", req_port=req))
    with Peer(None, tcp(req)) as peer:
        assert peer.ask("ping") == b"ok"


def test_threads_that_ask_at_once_get_one_server(runtime_dir: Path) -> None:
    found = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        found.append(ensure_embedded(Settings(name="shop")))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(records.listing(runtime_dir, "shop")) == 1


def test_a_server_that_cannot_start_leaves_nothing(runtime_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServerStartError, match="cannot start"):
            ensure_embedded(Settings(name="shop", req_port=taken.getsockname()[1]))
    assert list(runtime_dir.iterdir()) == []
    ensure_embedded(Settings(name="shop"))


def test_a_directory_that_is_open_to_others_is_refused(runtime_dir: Path) -> None:
    runtime_dir.chmod(0o755)
    with pytest.raises(RuntimeDirectoryError):
        ensure_embedded(Settings(name="shop"))


def test_what_a_killed_process_left_is_gone_after_the_next_start(runtime_dir: Path) -> None:
    code = (
        "import sys\n"
        "from rbkit_websocket.options.table import Settings\n"
        "from rbkit_websocket.server import ensure_embedded\n"
        "ensure_embedded(Settings(name='shop'))\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        assert len(list(runtime_dir.iterdir())) == 2
        child.send_signal(signal.SIGKILL)
    ensure_embedded(Settings(name="shop"))
    assert len(list(runtime_dir.iterdir())) == 2
    assert all(str(os.getpid()) in path.name for path in runtime_dir.iterdir())


def test_a_process_that_ends_by_itself_stops_its_server(runtime_dir: Path) -> None:
    code = (
        "from rbkit_websocket.options.table import Settings\n"
        "from rbkit_websocket.server import ensure_embedded, current_server\n"
        "ensure_embedded(Settings(name='shop'))\n"
        "current_server().process_incoming_request('start_cpu_profiling')\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(runtime_dir.iterdir()) == []


@pytest.mark.smoke
def test_a_forked_child_has_no_server_and_can_start_its_own(runtime_dir: Path) -> None:
    code = (
        "import gc, json, os, sys, time\n"
        "from rbkit_websocket.options.table import Settings\n"
        "from rbkit_websocket.server import current_server, ensure_embedded, stop_server\n"
        "settings = Settings(name='shop')\n"
        "parent = ensure_embedded(settings)\n"
        "for command in ('start_cpu_profiling', 'start_memory_profile'):\n"
        "    current_server().process_incoming_request(command)\n"
        "while not gc.callbacks: time.sleep(0.01)\n"
        "callbacks = len(gc.callbacks)\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    assert current_server() is None and not gc.callbacks\n"
        "    child = ensure_embedded(settings)\n"
        "    print(json.dumps([os.getpid(), parent.endpoint, child.endpoint]), flush=True)\n"
        "    sys.stdin.read()\n"
        "    sys.exit(0 if stop_server() else 1)\n"
        "status = os.waitpid(pid, 0)[1]\n"
        "assert status == 0, status\n"
        "assert current_server() is not None\n"
    )
    with subprocess.Popen(
        # Since Python 3.12 a fork of a process with threads warns, whoever's threads they are.
        [sys.executable, "-W", "error::ResourceWarning", "-W", "ignore::DeprecationWarning", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        pid, parent, child = json.loads(process.stdout.readline())
        with Peer(None, parent) as asker:
            assert asker.handshake()["pid"] == process.pid
        with Peer(None, child) as asker:
            assert asker.handshake()["pid"] == pid
            assert asker.handshake()["cpu_profiling_enabled"] == 0
        assert {record.pid for record in records.listing(runtime_dir, "shop")} == {process.pid, pid}
        process.stdin.close()
        errors = process.stderr.read()
        assert process.wait() == 0, errors
        assert errors == ""
    assert list(runtime_dir.iterdir()) == []


def test_a_child_of_a_process_that_only_imported_us_cleans_up_at_its_end(runtime_dir: Path) -> None:
    code = (
        "import os, sys\n"
        "from rbkit_websocket.options.table import Settings\n"
        "from rbkit_websocket.server import ensure_embedded\n"
        "pid = os.fork()\n"
        "if pid: sys.exit(os.waitpid(pid, 0)[1])\n"
        "ensure_embedded(Settings(name='shop'))\n"
        "assert len(os.listdir(os.environ['RBKIT_RUNTIME_DIR'])) == 3\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)
    assert list(runtime_dir.iterdir()) == []


def test_importing_has_no_side_effect() -> None:
    code = (
        "import os, sys, threading, gc, atexit\n"
        "import rbkit_websocket.server\n"
        "assert 'gevent' not in sys.modules\n"
        "assert threading.active_count() == 1 and len(os.listdir('/proc/self/task')) == 1\n"
        "assert not gc.callbacks\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)
