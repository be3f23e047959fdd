"""The gateway in front of several servers: by name, from a file, with keys."""

from __future__ import annotations

import json
import math
import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq
from support.cliprocess import Running, run, running
from support.ports import free_port
from support.standin import StandIn
from support.tcpserver import TcpServer
from support.waiting import scaled, wait_until

from rbkit_websocket import ConnectionClosed, connect
from rbkit_websocket.transport.curve import write_key_pair

TOKEN = "long-enough-for-this"


@pytest.fixture(autouse=True)
def _private_directory(runtime_dir: Path) -> None:
    """Where the gateway would keep its token."""


@contextmanager
def gateway(*options: str) -> Iterator[Running]:
    with running("gateway", "--bind", "127.0.0.1:0", "--token", TOKEN, *options) as process:
        assert process.url
        yield process
        assert process.process.poll() is None, process.wait()


def listing(process: Running) -> dict[str, dict[str, Any]]:
    """GET /__rbkit__/servers, by name."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{process.port}/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=scaled(10)) as response:
        # As a browser reads it: strictly.
        found = json.loads(response.read(), parse_constant=pytest.fail)["servers"]
    assert all(entry["id"] == entry["name"] for entry in found)
    return {entry["name"]: entry for entry in found}


def pid(process: Running, server: str | None = None) -> int:
    """The process that a session with that server reaches."""
    with connect(process.url, server=server) as client:
        return client.handshake()["pid"]


def refusal(process: Running, server: str | None = None) -> tuple[int, str]:
    """Close code and reason of a session that cannot be."""
    with connect(process.url, server=server) as client, pytest.raises(ConnectionClosed) as caught:
        client.command("handshake")
    return caught.value.code, caught.value.reason


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[TcpServer, TcpServer]]:
    """Two embedded servers on TCP ports, processes of their own."""
    with TcpServer() as one, TcpServer() as two:
        yield one, two


def test_servers_are_listed_and_chosen_by_name(pair: tuple[TcpServer, TcpServer]) -> None:
    one, two = pair
    with gateway("--server", f"web1={one.address}", "--server", f"web2 = {two.address}") as process:
        found = listing(process)
        assert list(found) == ["web1", "web2"]
        for name, server in (("web1", one), ("web2", two)):
            entry = found[name]
            assert (entry["alive"], entry["pid"], entry["problem"]) == (True, server.process.pid, None)
            assert entry["rss"] > 1_000_000
            assert (entry["requests"], entry["sessions"]) == (None, 0)
            assert pid(process, name) == server.process.pid
        assert pid(process) == one.process.pid
        code, reason = refusal(process, "web3")
        assert code == 1013
        assert reason == "no server 'web3' here; GET /__rbkit__/servers lists them"
        assert f"bridge web1 to tcp://127.0.0.1:{one.pub} and tcp://127.0.0.1:{one.req}" in process.lines


def test_the_one_server_of_the_environment_is_none_of_those_that_are_named(
    pair: tuple[TcpServer, TcpServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RBKIT_PUB_ENDPOINT", "tcp://127.0.0.1:5555")
    with gateway("--server", f"web={pair[0].address}") as process:
        assert list(listing(process)) == ["web"]
        assert pid(process) == pair[0].process.pid


def test_who_names_none_gets_the_first_that_is_there(pair: tuple[TcpServer, TcpServer]) -> None:
    pub, req = free_port(), free_port()
    with gateway("--server", f"gone=tcp://127.0.0.1:{pub},{req}", "--server", f"web={pair[0].address}") as process:
        assert pid(process) == pair[0].process.pid
        assert refusal(process, "gone") == (1013, f"Rbkit server is not running at tcp://127.0.0.1:{req}")
        entry = listing(process)["gone"]
        assert (entry["alive"], entry["pid"], entry["problem"]) == (False, None, "not reachable")


def test_a_server_of_any_make_is_listed() -> None:
    with StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as ruby:
        endpoints = ("--pub-endpoint", ruby.pub_endpoint, "--req-endpoint", ruby.req_endpoint)
        with gateway(*endpoints) as process:
            entry = listing(process)["default"]
            assert entry["alive"]
            assert [entry[key] for key in ("pid", "rss", "requests", "sessions", "started")] == [None] * 5
            with connect(process.url, server="default") as client:
                assert client.command("trigger_gc") == b"ok"


def test_a_server_that_does_not_answer_is_told_apart() -> None:
    with StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as stuck, StandIn() as ruby, zmq.Context() as context:
        options = [f"--server=stuck={stuck.pub_endpoint},{stuck.req_endpoint}"]
        options += [f"--server=other={ruby.pub_endpoint},{ruby.req_endpoint}"]
        with gateway(*options) as process:
            assert [entry["alive"] for entry in listing(process).values()] == [True, True]
            for command in ("", "\0handshake"):
                with connect(process.url, server="stuck") as client:
                    assert client.command(command) == b"ok"
            assert [entry["alive"] for entry in listing(process).values()] == [True, True]
            # Somebody who is not behind a gateway can do it.
            with context.socket(zmq.REQ) as req:
                req.linger = 0
                req.connect(stuck.req_endpoint)
                req.send(b"")
                wait_until(lambda: stuck.wedged, "the server to be stuck")
            entries = listing(process)
            assert not entries["stuck"]["alive"]
            words = "does not answer within 1 s: it is busy, with a snapshot say, or stuck"
            assert entries["stuck"]["problem"] == words
            assert (entries["other"]["alive"], entries["other"]["problem"]) == (True, None)
            with connect(process.url) as client:
                assert client.command("standin echo other") == b"other", "who names none gets one that answers"


def test_what_a_server_says_of_itself_is_not_believed_blindly() -> None:
    import msgpack

    with StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as other:
        other.answers[b"status"] = msgpack.packb(
            {"pid": "1; rm", "rss": True, "application": "x" * 1000, "requests": [1], "sessions": None, "started": {}}
        )
        with gateway("--pub-endpoint", other.pub_endpoint, "--req-endpoint", other.req_endpoint) as process:
            entry = listing(process)["default"]
            assert [entry[key] for key in ("pid", "rss", "requests", "sessions", "started")] == [None] * 5
            assert entry["application"] == "x" * 200
            other.answers[b"status"] = b"\x81\xff"
            assert listing(process)["default"]["pid"] is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_know_hides_no_server_from_browsers(number: float) -> None:
    import msgpack

    with (
        StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as other,
        StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as good,
    ):
        keys = ("pid", "rss", "requests", "sessions", "started")
        other.answers[b"status"] = msgpack.packb(
            {**dict.fromkeys(keys, number), "application": "\ud800"}, unicode_errors="surrogatepass"
        )
        good.answers[b"status"] = msgpack.packb(dict.fromkeys(keys, 5))
        servers = [
            f"--server={name}={peer.pub_endpoint},{peer.req_endpoint}"
            for name, peer in (("bad", other), ("good", good))
        ]
        with gateway(*servers) as process:
            found = listing(process)
            assert found["bad"]["alive"]
            assert [found["bad"][key] for key in keys] == [None] * 5
            assert [found["good"][key] for key in keys] == [5] * 5


def end_of(client: Any) -> tuple[int, str]:
    """Waits until a session is closed; code and reason."""
    assert list(client) == []
    return client.closed.code, client.closed.reason


# The file


def test_the_file_is_read_again_on_sighup(pair: tuple[TcpServer, TcpServer], tmp_path: Path) -> None:
    one, two = pair
    file = tmp_path / "servers"
    file.write_text(f"# the web servers\n\nweb1 = {one.address}  # the first\nweb2={two.address}\n")
    with gateway("--servers-file", str(file)) as process:
        assert list(listing(process)) == ["web1", "web2"]
        with (
            connect(process.url, server="web1") as stays,
            connect(process.url, server="web2") as leaves,
            connect(process.url, server="web2") as too,
        ):
            for client in (stays, leaves, too):
                client.handshake()
            file.write_text(f"web1 = {one.address}\nweb3 = {two.address}\n")
            process.process.send_signal(signal.SIGHUP)
            for client in (leaves, too):
                assert end_of(client) == (1001, "server 'web2' has left the gateway's list")
            assert list(listing(process)) == ["web1", "web3"]
            assert stays.handshake()["pid"] == one.process.pid
            assert pid(process, "web3") == two.process.pid
            file.write_text(f"web1 = {two.address}\n")
            process.process.send_signal(signal.SIGHUP)
            assert end_of(stays) == (1001, "server 'web1' has changed in the gateway's list; connect again")
            assert pid(process, "web1") == two.process.pid


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("web1 tcp://127.0.0.1:1,2\n", "line 1: a server is NAME=tcp://HOST:PUB_PORT,REQ_PORT"),
        ("", "names no server"),
        ("# nobody\n", "names no server"),
        ("web1 = tcp://h:1,2\nweb1 = tcp://h:3,4\n", "line 2: there are two servers named 'web1'"),
        ("web1 = tcp://h:1,99999\n", "line 1: a server is"),
        ("web1 = tcp://h:1,2 nowhere.key\n", "line 1: server 'web1' has a CURVE key, but the gateway has none"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_bad_file_leaves_the_servers_as_they_were(
    pair: tuple[TcpServer, TcpServer], tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "servers"
    good = f"web1 = {pair[0].address}\n"
    file.write_text(good)
    with running("gateway", "--bind", "127.0.0.1:0", "--token", TOKEN, "--servers-file", str(file)) as process:
        with connect(process.url, server="web1") as client:
            client.handshake()
            if content is None:
                file.unlink()
            else:
                file.write_text(content)
            process.process.send_signal(signal.SIGHUP)
            assert client.handshake()["pid"] == pair[0].process.pid
            assert list(listing(process)) == ["web1"]
            file.write_text(f"{good}web2 = {pair[1].address}\n")
            process.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(listing(process)) == 2, "the good file to be read")
        code, errors = process.end()
    assert code == 0
    assert words in errors
    assert errors.count("The servers stay as they were.") == 1


def test_a_bad_file_at_the_start_is_one_line(tmp_path: Path) -> None:
    code, lines, errors = run("gateway", "--servers-file", str(tmp_path / "none"))
    assert (code, lines) == (1, [])
    assert errors == f"Error: {tmp_path}/none: cannot be read (No such file or directory)\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--server", "web1"], "a server is NAME="),
        (["--server", "we b=tcp://h:1,2"], "a server is NAME="),
        (["--server", "w=tcp://h:1,2", "--server", "w=tcp://h:1,2"], "two servers named 'w'"),
        (["--server", "w=tcp://h:1,2", "--servers-file", "/x"], "give one of --server"),
        (["--server", "w=tcp://h:1,2", "--curve-server-key-file", "/k"], "has a CURVE key, but the gateway has none"),
        (["--server", "w=udp://h:1,udp://h:2"], "a server is NAME="),
    ],
)
def test_what_cannot_work_is_one_line(arguments: list[str], words: str) -> None:
    code, lines, errors = run("gateway", *arguments)
    assert (code, lines) == (1, [])
    assert errors.startswith("Error: ")
    assert words in errors
    assert errors.count("\n") == 1


# Keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of a server, the gateway that it knows, and a stranger."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("server", "gateway", "stranger"):
        write_key_pair(directory, name)
    (directory / "clients").mkdir()
    (directory / "clients" / "gateway.key").write_bytes((directory / "gateway.key").read_bytes())
    return directory


@pytest.fixture(scope="module")
def guarded(keys: Path) -> Iterator[TcpServer]:
    """A server that speaks CURVE."""
    options = {
        "RBKIT_CURVE_SECRET_KEY_FILE": str(keys / "server.key_secret"),
        "RBKIT_CURVE_AUTHORIZED_KEYS_DIR": str(keys / "clients"),
    }
    with TcpServer(**options) as server:
        yield server


def test_a_gateway_with_keys_reaches_a_guarded_server_beside_an_open_one(
    guarded: TcpServer, pair: tuple[TcpServer, TcpServer], keys: Path, tmp_path: Path
) -> None:
    file = keys / "servers"
    file.write_text(f"safe = {guarded.address} server.key\nopen = {pair[0].address}\n")
    own = ("--curve-secret-key-file", str(keys / "gateway.key_secret"))
    with gateway("--servers-file", str(file), *own) as process:
        assert [entry["alive"] for entry in listing(process).values()] == [True, True]
        assert pid(process, "open") == pair[0].process.pid
        with connect(process.url, server="safe") as client:
            assert client.handshake()["pid"] == guarded.process.pid
            assert client.command("start_memory_profile") == b"ok"
            assert client.command("trigger_gc") == b"ok"
            next(client.events(scaled(10)))
        assert any(line.endswith("with CURVE") for line in process.lines)


UNKNOWN = "it does not know this side's CURVE key"
WRONG = "wrong server key, or it does not use CURVE"
PLAIN = "it wants CURVE keys, or is no ZeroMQ server"
HUNG_UP = ", or is down behind a proxy"
"""What is added where the server was the first to hang up, instead of telling what it speaks: a race."""


@pytest.mark.parametrize(
    ("own", "server", "words"),
    [("stranger", "server", UNKNOWN), ("gateway", "stranger", WRONG), (None, None, PLAIN)],
    ids=["stranger", "wrong server", "no key"],
)
def test_a_link_that_is_refused_says_why(
    guarded: TcpServer, keys: Path, own: str | None, server: str | None, words: str
) -> None:
    options = ["--server", f"safe={guarded.address}"]
    if own and server:
        options += ["--curve-secret-key-file", str(keys / f"{own}.key_secret")]
        options += ["--curve-server-key-file", str(keys / f"{server}.key")]
    with gateway(*options) as process:
        code, reason = refusal(process, "safe")
        assert (code, reason.removesuffix(HUNG_UP)) == (1013, f"the Rbkit server refused the link: {words}")
        entry = listing(process)["safe"]
        assert (entry["alive"], entry["problem"].removesuffix(HUNG_UP), entry["pid"]) == (False, words, None)


def test_keys_for_a_server_that_has_none_say_so(pair: tuple[TcpServer, TcpServer], keys: Path) -> None:
    own = ("--curve-secret-key-file", str(keys / "gateway.key_secret"))
    with gateway("--server", f"open={pair[0].address} {keys / 'server.key'}", *own) as process:
        code, reason = refusal(process)
        assert (code, reason.removesuffix(HUNG_UP)) == (1013, f"the Rbkit server refused the link: {WRONG}")


@pytest.mark.parametrize("with_keys", [False, True], ids=["open", "keys"])
def test_a_server_that_dies_during_the_connect_is_not_running_whatever_the_keys(keys: Path, with_keys: bool) -> None:
    with TcpServer() as server:
        # Stopped, it lets the kernel take connections, and no handshake comes to an end.
        server.process.send_signal(signal.SIGSTOP)
        guard = [f"web={server.address} {keys / 'server.key'}", "--curve-secret-key-file"]
        guard = [*guard, str(keys / "gateway.key_secret")] if with_keys else [f"web={server.address}"]
        with gateway("--server", *guard) as process:
            gateways = psutil.Process(process.process.pid)

            def linked() -> bool:
                links = gateways.net_connections("tcp")
                return any(
                    link.raddr and link.raddr.port == server.req and link.status == "ESTABLISHED" for link in links
                )

            with connect(process.url, server="web") as client:
                wait_until(linked, "the gateway's link")
                server.process.kill()
                with pytest.raises(ConnectionClosed) as caught:
                    client.command("handshake")
        assert (caught.value.code, caught.value.reason) == (
            1013,
            f"Rbkit server is not running at tcp://127.0.0.1:{server.req}",
        )


@pytest.mark.parametrize(
    "greeting", [b"", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"], ids=["mute", "http"]
)
def test_whatever_hangs_up_each_time_is_told_with_all_that_it_may_be(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(greeting)

        thread = threading.Thread(target=hang_up)
        thread.start()
        port = listener.getsockname()[1]
        try:
            with gateway("--server", f"web=tcp://127.0.0.1:{free_port()},{port}") as process:
                assert refusal(process) == (1013, f"the Rbkit server refused the link: {PLAIN}{HUNG_UP}")
                assert listing(process)["web"]["problem"] == PLAIN + HUNG_UP
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_the_two_option_form_takes_keys_too(guarded: TcpServer, keys: Path) -> None:
    options = ["--pub-endpoint", f"tcp://127.0.0.1:{guarded.pub}", "--req-endpoint", f"tcp://127.0.0.1:{guarded.req}"]
    options += ["--curve-secret-key-file", str(keys / "gateway.key_secret")]
    with gateway(*options, "--curve-server-key-file", str(keys / "server.key")) as process:
        assert pid(process) == guarded.process.pid


# Servers that come and go


def test_a_session_lives_on_when_its_server_restarts_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBKIT_CONNECT_TIMEOUT", str(scaled(2)))
    with TcpServer() as server, gateway("--server", f"web={server.address}") as process:
        with connect(process.url, server="web") as client:
            before = client.handshake()["pid"]
            server.stop()
            server.start()
            assert client.handshake()["pid"] == server.process.pid != before
        server.stop()
        wait_until(lambda: not listing(process)["web"]["alive"], "the list to say so")
        assert refusal(process, "web") == (1013, f"Rbkit server is not running at tcp://127.0.0.1:{server.req}")
        server.start()
        assert listing(process)["web"]["alive"]
        assert pid(process, "web") == server.process.pid


def test_the_middleware_takes_keys_as_the_gateway_does(guarded: TcpServer, keys: Path) -> None:
    from support.rawclient import connect_rbkit
    from support.servers import SERVERS
    from support.servers import TOKEN as WEB_TOKEN

    env = {
        "RBKIT_PUB_ENDPOINT": f"tcp://127.0.0.1:{guarded.pub}",
        "RBKIT_REQ_ENDPOINT": f"tcp://127.0.0.1:{guarded.req}",
        "RBKIT_CURVE_SERVER_KEY_FILE": str(keys / "server.key"),
        "RBKIT_CURVE_SECRET_KEY_FILE": str(keys / "gateway.key_secret"),
    }
    with SERVERS["pywsgi"](env=env) as web, connect_rbkit(web.url("/"), token=WEB_TOKEN) as client:
        assert client.command("trigger_gc") == b"ok"
    missing = {**env, "RBKIT_CURVE_SERVER_KEY_FILE": "/no/such.key"}
    with SERVERS["pywsgi"](env=missing) as web:
        with connect_rbkit(web.url("/"), token=WEB_TOKEN) as client:
            code, reason = client.closed()
        assert code == 1013
        assert "/no/such.key: no public key can be read" in reason
        assert "/no/such.key" in web.log()
        assert b"hello" in web.get("/hello")
