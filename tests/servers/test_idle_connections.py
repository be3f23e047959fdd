"""Connections that ask for nothing: hundreds of them keep nobody out, and each ends."""

from __future__ import annotations

import json
import select
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq
from support.cliprocess import Running, running
from support.standin import StandIn
from support.waiting import scaled, wait_until

from rbkit_websocket import connect
from rbkit_websocket.server.ports import Ports

TOKEN = "long-enough-for-this"

HALVES = {
    "idle": b"",
    "half a line": b"GET /__rbkit__/ser",
    "half a head": b"GET /__rbkit__/servers HTTP/1.1\r\nHost: x\r\nX-",
    "half a body": b"POST /__rbkit__/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ntoken=",
    "kept": b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    "half an upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebS",
}


@pytest.fixture
def gateway(runtime_dir: Path) -> Iterator[Running]:
    with StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as ruby:
        options = ("--pub-endpoint", ruby.pub_endpoint, "--req-endpoint", ruby.req_endpoint)
        with running("gateway", "--bind", "127.0.0.1:0", "--token", TOKEN, *options) as process:
            assert process.url
            yield process


@contextmanager
def crowd(port: int, count: int, data: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=scaled(10)))
            connection.sendall(data)
            connections.append(connection)
        yield connections


def listing(process: Running) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{process.port}/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=scaled(5)) as response:
        return json.loads(response.read())["servers"]


def has_ended(connection: socket.socket) -> bool:
    """Reads what is there; whether the other side has closed."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("half", HALVES)
def test_hundreds_of_idle_connections_keep_nobody_out_of_a_gateway(gateway: Running, half: str) -> None:
    descriptors = psutil.Process(gateway.process.pid).num_fds()
    with connect(gateway.url) as before, crowd(gateway.port, 400, HALVES[half]) as connections:
        assert listing(gateway)
        with connect(gateway.url) as client:
            assert client.command("ping") == b"ok"
        assert before.command("ping") == b"ok", "sessions are none of the crowd"
        assert psutil.Process(gateway.process.pid).num_fds() <= descriptors + 256 + 60
        # Over the limit the oldest have ended at once.
        wait_until(lambda: sum(map(has_ended, connections[:100])) == 100, "the oldest of them to end", timeout=10)


def test_a_request_that_does_not_go_on_ends_by_itself(gateway: Running) -> None:
    with crowd(gateway.port, 5, HALVES["half a head"]) as heads, connect(gateway.url) as client:
        wait_until(lambda: all(map(has_ended, heads)), "the end of heads that do not come", timeout=30)
        # A session that says nothing stays.
        assert client.command("ping") == b"ok"


def test_a_gateway_with_few_descriptors_is_bounded_by_them(runtime_dir: Path) -> None:
    with StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as ruby:
        options = ["--pub-endpoint", ruby.pub_endpoint, "--req-endpoint", ruby.req_endpoint]
        arguments = ["gateway", "--bind", "127.0.0.1:0", "--token", TOKEN, *options]
        with running(*arguments, descriptors=128) as process, crowd(process.port, 200, b""):
            assert listing(process)
            with connect(process.url) as client:
                assert client.command("ping") == b"ok"


def test_ports_of_which_one_was_taken_meanwhile_are_counted_again(tmp_path: Path) -> None:
    poll, said = select.poll(), []  # type: ignore[var-annotated]
    with zmq.Context() as context, context.socket(zmq.XPUB) as first, context.socket(zmq.ROUTER) as second:
        ports = Ports(poll, said.append)
        for owner in (first, second):
            ports.prepare(owner)
            owner.bind("tcp://127.0.0.1:*")
            ports.add(owner)
        numbers = [int(endpoint.rpartition(":")[2]) for _, endpoint in ports._bound]
        ports._shut()
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

            def taken() -> bool:
                try:
                    thief.bind(("127.0.0.1", numbers[1]))
                except OSError:
                    return False  # libzmq has not closed it yet
                return True

            wait_until(taken, "the port")
            thief.listen()
            ports._open()
            assert ports._shut_until is not None
        wait_until(lambda: ports._open() or ports._shut_until is None, "both ports")
        for number in numbers:
            socket.create_connection(("127.0.0.1", number), 5).close()
        ports.close()
