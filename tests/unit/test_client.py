"""The blocking client against an independent WebSocket server: connecting and commands."""

from __future__ import annotations

import socket
import threading
import time
from http import HTTPStatus

import msgpack
import pytest
from support.clientpeer import answer, collection, ok_to_everything, peer
from support.waiting import scaled, wait_until
from websockets.exceptions import ConnectionClosed as PeerConnectionClosed
from websockets.sync.server import ServerConnection

import rbkit_websocket
from rbkit_websocket import (
    ClientError,
    CommandFailed,
    CommandTimeout,
    ConnectionClosed,
    ConnectionRefused,
    ProtocolError,
    connect,
)


@pytest.fixture(autouse=True)
def _no_reader_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "rbkit-client"]


def test_the_request_names_subprotocol_and_token_and_no_origin():
    with peer(ok_to_everything) as server, connect(f"{server.url}x?y=1", token="secret-1", server="9-a") as client:
        assert client.command("ping") == b"ok"
    (request,) = server.requests
    assert request.path == "/x?y=1&server=9-a&frames=binary"
    assert request.headers["Sec-WebSocket-Protocol"] == "rbkit"
    assert request.headers["Authorization"] == "Bearer secret-1"
    assert "Origin" not in request.headers


def test_without_a_token_no_authorization_is_sent():
    with peer(ok_to_everything) as server, connect(server.url):
        pass
    assert "Authorization" not in server.requests[0].headers


def test_a_refusal_carries_status_and_words():
    with (
        peer(ok_to_everything, refuse=(HTTPStatus.UNAUTHORIZED, "token missing\n")) as server,
        pytest.raises(ConnectionRefused) as caught,
    ):
        connect(server.url)
    assert (caught.value.status, caught.value.message) == (401, "token missing")


def test_a_redirect_is_not_followed_with_the_token():
    with (
        peer(ok_to_everything) as other,
        peer(ok_to_everything, refuse=(HTTPStatus.FOUND, "away"), headers={"Location": other.url}) as server,
        pytest.raises(ConnectionRefused, match="redirected") as caught,
    ):
        connect(server.url, token="secret-1")
    assert caught.value.status == 302
    assert not other.requests


def test_nothing_listening_is_refused_without_status():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ConnectionRefused, match=f"127.0.0.1:{port}: Connection refused") as caught:
            connect(f"ws://127.0.0.1:{port}/")
    assert caught.value.status is None


def test_a_server_that_says_nothing_is_refused_in_time():
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        started = time.monotonic()
        with pytest.raises(ConnectionRefused, match="no answer"):
            connect(f"ws://127.0.0.1:{mute.getsockname()[1]}/", timeout=0.2)
    assert time.monotonic() - started < scaled(2)


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"])
def test_a_server_that_is_no_websocket_is_refused(words):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_once():
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(words)

        thread = threading.Thread(target=serve_once)
        thread.start()
        with pytest.raises(ConnectionRefused):
            connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/", timeout=5)
        thread.join()


def test_an_upgrade_without_the_subprotocol_is_not_used():
    with (
        peer(ok_to_everything, subprotocol=False) as server,
        pytest.raises(ConnectionRefused, match="subprotocol 'rbkit'"),
    ):
        connect(server.url)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    with peer(ok_to_everything) as server, connect(server.url) as client:
        assert client.command("x") == b"ok"


def test_answers_are_paired_with_commands_in_order():
    def handler(connection: ServerConnection):
        for number, command in enumerate(connection):
            connection.send(collection(number + 1))
            connection.send(answer(command=command))

    with peer(handler) as server, connect(server.url) as client:
        results = {}
        threads = [
            threading.Thread(target=lambda name=f"c{i}": results.update({name: client.command(name)}))
            for i in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {f"c{i}": {"command": f"c{i}"} for i in range(20)}


def test_handshake_returns_the_payload():
    def handler(connection: ServerConnection):
        connection.recv()
        connection.send(b"0" + msgpack.packb({0: 8, 1: 5.0, 2: {"pid": 7, "rbkit_protocol_version": "2.1"}}))
        connection.recv()
        connection.send(b"0ok")

    with peer(handler) as server, connect(server.url) as client:
        assert client.handshake() == {"pid": 7, "rbkit_protocol_version": "2.1"}
        with pytest.raises(ClientError, match="handshake"):
            client.handshake()


def test_an_error_map_is_raised():
    def handler(connection: ServerConnection):
        for _ in connection:
            connection.send(answer(error="bad-interval", message="give 100 or more"))

    with peer(handler) as server, connect(server.url) as client, pytest.raises(CommandFailed) as caught:
        client.command("set_cpu_interval 1")
    assert (caught.value.command, caught.value.code, caught.value.message) == (
        "set_cpu_interval 1",
        "bad-interval",
        "give 100 or more",
    )


def test_a_late_answer_is_not_given_to_the_next_command():
    release = threading.Event()

    def handler(connection: ServerConnection):
        connection.recv()
        release.wait(10)
        connection.send(answer(of="first"))
        connection.recv()
        connection.send(answer(of="second"))

    with peer(handler) as server, connect(server.url) as client:
        with pytest.raises(CommandTimeout) as caught:
            client.command("slow", timeout=0.1)
        assert caught.value.seconds == 0.1
        release.set()
        assert client.command("next") == {"of": "second"}


def test_a_close_ends_the_command_in_flight_with_code_and_reason():
    def handler(connection: ServerConnection):
        connection.recv()
        connection.close(1013, "Rbkit server is not running")

    with peer(handler) as server, connect(server.url) as client:
        with pytest.raises(ConnectionClosed) as caught:
            client.command("handshake")
        assert (caught.value.code, caught.value.reason) == (1013, "Rbkit server is not running")
        with pytest.raises(ConnectionClosed, match="1013"):
            client.command("again")
        assert client.closed is caught.value


def test_a_broken_connection_is_1006():
    def handler(connection: ServerConnection):
        connection.recv()
        connection.socket.shutdown(socket.SHUT_RDWR)

    with peer(handler) as server, connect(server.url) as client:
        with pytest.raises(ConnectionClosed) as caught:
            client.command("x")
        assert caught.value.code == 1006
        with pytest.raises(ConnectionClosed):
            list(client)


@pytest.mark.parametrize("frame", ["0ok", "0%81%A1", "1%84"])
def test_text_framing_is_refused_with_a_hint(frame):
    def handler(connection: ServerConnection):
        connection.recv()
        connection.send(frame)

    with (
        peer(handler) as server,
        connect(server.url) as client,
        pytest.raises(ClientError, match="connect without frames=text"),
    ):
        client.command("x")


@pytest.mark.parametrize("frame", [b"0ok", b"2x", b""])
def test_frames_that_make_no_sense_end_the_connection(frame):
    codes = []

    def handler(connection: ServerConnection):
        connection.send(frame)
        try:
            connection.recv()
        except PeerConnectionClosed as error:
            codes.append(error.rcvd and error.rcvd.code)

    with peer(handler) as server:
        with connect(server.url) as client, pytest.raises(ClientError):
            list(client)
        wait_until(lambda: codes == [1002], "the close code at the server")


def test_an_unreadable_answer_is_a_protocol_error():
    def handler(connection: ServerConnection):
        for _ in connection:
            connection.send(b"0\x81\xa1")

    with peer(handler) as server, connect(server.url) as client:
        for _ in range(2):
            with pytest.raises(ProtocolError):
                client.command("x")


def test_connect_is_exported():
    assert rbkit_websocket.connect is connect
