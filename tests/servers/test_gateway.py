"""The gateway as a real process in front of a stand-in."""

from __future__ import annotations

import http.client
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.cliprocess import Running, run, running
from support.standin import StandIn
from support.waiting import scaled, wait_until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as independent_connect

from rbkit_websocket import ConnectionClosed, ConnectionRefused, connect


@pytest.fixture(autouse=True)
def _private_directory(runtime_dir: Path) -> Iterator[None]:
    yield
    left = [path.name for path in runtime_dir.iterdir() if path.suffix != ".token"]
    assert not left, f"left in the runtime directory: {left}"


SOMEWHERE = ("--pub-endpoint", "tcp://127.0.0.1:1", "--req-endpoint", "tcp://127.0.0.1:2")


@contextmanager
def gateway(stand_in: StandIn, *options: str, env: dict[str, str] | None = None) -> Iterator[Running]:
    endpoints = ["--pub-endpoint", stand_in.pub_endpoint, "--req-endpoint", stand_in.req_endpoint]
    with running("gateway", "--bind", "127.0.0.1:0", *endpoints, *options, env=env) as process:
        yield process


def test_the_gateway_serves_the_dashboard_at_the_address_it_prints(stand_in):
    with gateway(stand_in) as process:
        token = process.url.partition("token=")[2]
        address = f"http://127.0.0.1:{process.port}/__rbkit__/"
        wait_until(lambda: f"dashboard {address}#token={token}" in process.lines, "the dashboard's address")
        with urllib.request.urlopen(address, timeout=scaled(10)) as response:
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert process.end() == (0, "")


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
        assert (caught.value.code, caught.value.reason) == (1013, "Rbkit server is not running at tcp://127.0.0.1:1")
        process.end()
