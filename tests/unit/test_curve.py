"""CURVE: keys in files, and nobody in whose key is not listed."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth
from click.testing import CliRunner
from support.embeddedpeer import unpack
from support.ports import free_port
from support.waiting import scaled, wait_until

from rbkit_websocket.cli import main
from rbkit_websocket.errors import ConfigurationError, ServerStartError
from rbkit_websocket.options.table import Settings
from rbkit_websocket.server import ensure_embedded, start_server, stop_server
from rbkit_websocket.server.embedded import current_server
from rbkit_websocket.transport.binding import Binding
from rbkit_websocket.transport.curve import ClientKeys, ServerKeys, write_key_pair


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Pairs of a server and two clients, of whom the server knows the first."""
    for name in ("server", "client", "stranger"):
        write_key_pair(tmp_path, name)
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients" / "client.key").write_bytes((tmp_path / "client.key").read_bytes())
    return tmp_path


@pytest.fixture(autouse=True)
def _stopped() -> Iterator[None]:
    yield
    if current_server() is not None:
        stop_server()


# Files


def test_a_pair_is_two_files_that_zeromq_reads(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        public, secret = write_key_pair(tmp_path, "web1")
    finally:
        os.umask(old)
    assert [path.name for path in (public, secret)] == ["web1.key", "web1.key_secret"]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    shown, none = zmq.auth.load_certificate(public)
    both = zmq.auth.load_certificate(secret)
    assert none is None
    assert both[0] == shown == zmq.curve_public(both[1])
    assert both[1] not in public.read_bytes()


def test_pairs_that_zmq_auth_made_are_read(tmp_path: Path) -> None:
    public, secret = zmq.auth.create_certificates(tmp_path, "theirs")
    os.chmod(secret, 0o600)
    found = ClientKeys.load(public, secret)
    assert found.server == found.public
    assert zmq.curve_public(found.secret) == found.public
    assert found.secret.decode() not in repr(found)


def test_a_pair_is_never_overwritten(tmp_path: Path) -> None:
    write_key_pair(tmp_path, "web1")
    before = (tmp_path / "web1.key_secret").read_bytes()
    with pytest.raises(ConfigurationError, match="is there already"):
        write_key_pair(tmp_path, "web1")
    assert (tmp_path / "web1.key_secret").read_bytes() == before


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda path: path.unlink(), "no secret key can be read from it"),
        (lambda path: path.write_text("curve\n"), "no secret key can be read from it"),
        (lambda path: path.write_text('public-key = "short"\n'), "40 characters of Z85"),
        (lambda path: path.write_bytes(path.with_suffix(".key").read_bytes()), "has a public key only"),
        (lambda path: path.chmod(0o644), r"others can read it \(mode 644\); chmod 600"),
    ],
)
def test_a_secret_key_that_cannot_be_used_is_named_with_what_to_do(keys: Path, prepare: Any, words: str) -> None:
    prepare(keys / "server.key_secret")
    with pytest.raises(ConfigurationError, match=words) as caught:
        ServerKeys.load(str(keys / "server.key_secret"), str(keys / "clients"))
    assert "server.key_secret" in str(caught.value)


def test_the_directory_of_clients_is_nobody_elses_to_write(keys: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such directory"):
        ServerKeys.load(str(keys / "server.key_secret"), str(keys / "nowhere"))
    (keys / "clients").chmod(0o777)
    with pytest.raises(ConfigurationError, match="anybody can add a key there; chmod o-w"):
        ServerKeys.load(str(keys / "server.key_secret"), str(keys / "clients"))


def test_keygen_writes_a_pair_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    run = CliRunner().invoke
    done = run(main, ["keygen", "web1", "--directory", str(tmp_path / "keys")])
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert str(tmp_path / "keys" / "web1.key_secret") in done.output
    assert zmq.auth.load_certificate(tmp_path / "keys" / "web1.key_secret")[1]
    for name, words in (("web1", "is there already"), ("../web", "letters, digits")):
        again = run(main, ["keygen", name, "--directory", str(tmp_path / "keys")])
        assert again.exit_code == 1
        assert words in again.output


# What is refused before anything is bound


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "10.0.0.5", "::", "192.168.1.1"])
def test_a_server_beyond_loopback_without_keys_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"opens the profiler to other machines.*keygen.*insecure_bind=True"):
        Settings.from_options({}, bind_host=host, req_port=5556)
    assert Settings.from_options({}, bind_host=host, req_port=5556, insecure_bind=True).binding().host == host
    # Without a port nothing is bound, so nothing is wrong.
    assert Settings.from_options({}, bind_host=host).bind_host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_needs_no_keys(host: str) -> None:
    binding = Settings.from_options({}, bind_host=host, req_port=5556).binding()
    assert binding.endpoint(5556) in (f"tcp://{host}:5556", f"tcp://[{host}]:5556")


@pytest.mark.parametrize(
    "options",
    [
        {"curve_secret_key_file": "/x", "req_port": 5556},
        {"curve_authorized_keys_dir": "/x", "req_port": 5556},
        {"curve_secret_key_file": "/x", "pub_endpoint": "tcp://h:1", "req_endpoint": "tcp://h:2"},
        {"curve_server_key_file": "/x", "pub_endpoint": "tcp://h:1", "req_endpoint": "tcp://h:2"},
    ],
)
def test_keys_come_in_pairs(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="go together"):
        Settings.from_options({}, **options)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("bind_host", "localhost", "give an IP address"),
        ("bind_host", 5, "give an IP address"),
        ("insecure_bind", "perhaps", "True or False"),
        ("curve_secret_key_file", "server.key_secret", "absolute path"),
    ],
)
def test_values_that_cannot_work_are_errors(option: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Settings.from_options({}, **{option: value})


def test_start_server_reads_the_same_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBKIT_BIND_HOST", "0.0.0.0")
    with pytest.raises(ConfigurationError, match="other machines"):
        start_server(free_port(), free_port())
    monkeypatch.setenv("RBKIT_INSECURE_BIND", "1")
    req = free_port()
    server = start_server(None, req)
    assert server
    assert server.req_endpoints == [f"tcp://0.0.0.0:{req}"]
    with Asker(req, None) as asker:
        assert asker.ask("ping") == b"ok"


def test_a_key_that_cannot_be_read_leaves_nothing(runtime_dir: Path, keys: Path) -> None:
    settings = Settings(
        name="shop", req_port=free_port(), curve_secret_key_file="/no/key", curve_authorized_keys_dir=str(keys)
    )
    with pytest.raises(ServerStartError, match="/no/key: no secret key can be read"):
        ensure_embedded(settings)
    assert list(runtime_dir.iterdir()) == []


# Who gets in


class Asker:
    """A REQ and a SUB over TCP, with keys or without. A context manager."""

    def __init__(self, req: int, keys: ClientKeys | None, pub: int | None = None) -> None:
        self._context = zmq.Context()
        self.req = self._connect(zmq.REQ, req, keys)
        if pub is not None:
            self.sub = self._connect(zmq.SUB, pub, keys)
            self.sub.subscribe(b"")

    def _connect(self, kind: int, port: int, keys: ClientKeys | None) -> Any:
        opened = self._context.socket(kind)
        opened.linger = 0
        # libzmq gives up a connection whose other end speaks another mechanism: then there is nowhere to send to.
        opened.sndtimeo = 500
        if keys is not None:
            keys.apply(opened)
        opened.connect(f"tcp://127.0.0.1:{port}")
        return opened

    def ask(self, command: str, timeout: float = 10.0) -> bytes | None:
        try:
            self.req.send(command.encode())
        except zmq.Again:
            return None
        return self.req.recv() if self.req.poll(int(scaled(timeout) * 1000)) else None

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(0)


def load(keys: Path, server: str, own: str) -> ClientKeys:
    return ClientKeys.load(str(keys / f"{server}.key"), str(keys / f"{own}.key_secret"))


@pytest.fixture
def guarded(runtime_dir: Path, keys: Path) -> Settings:
    """An embedded server with CURVE on its ports."""
    settings = Settings(
        name="shop",
        pub_port=free_port(),
        req_port=free_port(),
        curve_secret_key_file=str(keys / "server.key_secret"),
        curve_authorized_keys_dir=str(keys / "clients"),
    )
    ensure_embedded(settings)
    return settings


def test_a_client_that_is_listed_gets_answers_and_publications(guarded: Settings, keys: Path) -> None:
    with Asker(guarded.req_port, load(keys, "server", "client"), guarded.pub_port) as asker:
        answer = asker.ask("handshake")
        assert answer is not None
        assert unpack(answer)[2]["pid"] == os.getpid()
        channels = current_server()._channel()
        wait_until(lambda: channels.audience, "the subscription")
        assert asker.ask("start_memory_profile") == b"ok"
        assert asker.ask("trigger_gc") == b"ok"
        assert asker.sub.poll(int(scaled(10) * 1000)), "no publication came"
        assert unpack(asker.sub.recv())[0] == 7


@pytest.mark.parametrize(
    ("server", "own"), [("server", "stranger"), ("stranger", "client"), (None, None)], ids=["key", "server", "plain"]
)
def test_others_get_nothing(guarded: Settings, keys: Path, server: str | None, own: str | None) -> None:
    used = load(keys, server, own) if server and own else None
    with (
        Asker(guarded.req_port, used, guarded.pub_port) as stranger,
        Asker(guarded.req_port, load(keys, "server", "client"), guarded.pub_port) as known,
    ):
        assert stranger.ask("handshake", 0.5) is None
        # What it publishes while both listen reaches the one that is listed.
        assert known.ask("start_memory_profile") == b"ok"
        channels = current_server()._channel()
        wait_until(lambda: channels.audience, "the subscription")
        assert known.ask("trigger_gc") == b"ok"
        assert known.sub.poll(int(scaled(10) * 1000))
        assert not stranger.sub.poll(100)
        assert not stranger.req.poll(0)


def test_a_key_that_is_added_or_removed_counts_for_the_next_connection(guarded: Settings, keys: Path) -> None:
    listed = keys / "clients" / "stranger.key"
    (keys / "clients" / "broken.key").write_text("not a key")
    # Forty characters of Z85 that stand for more than 32 bytes hold.
    (keys / "clients" / "huge.key").write_text(f'curve\n    public-key = "{"#" * 40}"\n')
    listed.write_bytes((keys / "stranger.key").read_bytes())
    with Asker(guarded.req_port, load(keys, "server", "stranger")) as asker:
        assert asker.ask("ping") == b"ok"
    listed.unlink()
    with Asker(guarded.req_port, load(keys, "server", "stranger")) as asker:
        assert asker.ask("ping", 0.5) is None


@pytest.mark.parametrize("port", ["pub_port", "req_port"])
def test_a_stranger_cannot_fill_the_memory(guarded: Settings, port: str) -> None:
    """libzmq takes a command in before it has seen any key: one of a gibibyte ends the connection at once."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
    with socket.create_connection(("127.0.0.1", getattr(guarded, port)), timeout=scaled(10)) as stranger:
        stranger.sendall(greeting)
        stranger.sendall(b"\x06" + (1 << 30).to_bytes(8, "big") + b"x")
        try:
            while stranger.recv(1000):
                pass
        except ConnectionResetError:
            pass


def test_siblings_reach_a_guarded_server_through_the_runtime_directory(guarded: Settings) -> None:
    from support.embeddedpeer import Peer

    with Peer.at(ensure_embedded(guarded).endpoint) as peer:
        assert peer.handshake()["pid"] == os.getpid()


def test_who_is_refused_is_in_the_log(guarded: Settings, keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with Asker(guarded.req_port, load(keys, "server", "stranger")) as asker:
            assert asker.ask("ping", 0.3) is None
    wait_until(lambda: "its key is not authorized" in caplog.text, "a word in the log")
    assert caplog.text.count("its key is not authorized") == 1, "once for many attempts"
    assert "refused a ZeroMQ client from 127.0.0.1" in caplog.text


def test_a_binding_is_checked_however_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match="other machines"):
        Binding("0.0.0.0")
    assert Binding("::1").endpoint(5555) == "tcp://[::1]:5555"
    assert Binding("*", insecure=True).endpoint(5555) == "tcp://*:5555"


# Connections that say nothing


CROWDED = """
import os, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
from rbkit_websocket.options.table import Settings
from rbkit_websocket.server import ensure_embedded
pub, req = map(int, sys.argv[1:3])
keys = dict(curve_secret_key_file=sys.argv[3], curve_authorized_keys_dir=sys.argv[4]) if len(sys.argv) > 3 else {}
ensure_embedded(Settings(name="shop", pub_port=pub, req_port=req, **keys))
print("ready", flush=True)
for line in sys.stdin:
    print(len(os.listdir("/proc/self/fd")), flush=True)
    # The application goes on opening what it needs.
    for taken in [open(os.devnull) for _ in range(40)]:
        taken.close()
"""


@pytest.mark.parametrize("guarded_by_keys", [True, False])
@pytest.mark.parametrize("port", ["pub", "req"])
def test_idle_connections_leave_the_application_its_descriptors(
    runtime_dir: Path, keys: Path, port: str, guarded_by_keys: bool
) -> None:
    ports = {"pub": free_port(), "req": free_port()}
    files = [str(keys / "server.key_secret"), str(keys / "clients")] if guarded_by_keys else []
    process = subprocess.Popen(
        [sys.executable, "-c", CROWDED, str(ports["pub"]), str(ports["req"]), *files],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def descriptors() -> int:
        process.stdin.write("\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    try:
        assert process.stdout.readline() == "ready\n"
        before = descriptors()
        with ExitStack() as stack:
            for _ in range(300):
                connection = stack.enter_context(socket.socket())
                connection.settimeout(scaled(10))
                try:
                    connection.connect(("127.0.0.1", ports[port]))
                except ConnectionRefusedError:
                    break  # they are shut
                assert descriptors() < 330
            wait_until(lambda: descriptors() <= before + 20, "all of them to be ended", timeout=20)
        # Who is let in comes in again.
        known = load(keys, "server", "client") if guarded_by_keys else None
        with Asker(ports["req"], known) as asker:
            assert asker.ask("ping", 30) == b"ok"
        assert process.poll() is None
    finally:
        _, errors = process.communicate()
    assert "the ports shut for 5 s" in errors


def test_a_connection_that_does_not_shake_hands_is_ended(guarded: Settings) -> None:
    with socket.create_connection(("127.0.0.1", guarded.req_port), timeout=scaled(20)) as mute:
        while mute.recv(1000):
            pass
