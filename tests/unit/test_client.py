"""The blocking client against an independent WebSocket server."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from http import HTTPStatus
from pathlib import Path

import msgpack
import pytest
from support.clientpeer import answer, collection, ok_to_everything, peer
from websockets.exceptions import ConnectionClosed as PeerConnectionClosed
from websockets.sync.server import ServerConnection

import rbkit_websocket
from rbkit_websocket import (
    ClientError,
    CommandFailed,
    CommandTimeout,
    ConfigurationError,
    ConnectionClosed,
    ConnectionRefused,
    ProtocolError,
    connect,
)
from rbkit_websocket.client.address import parse_url
from rbkit_websocket.client.publications import Publications, message_counter, thinned
from rbkit_websocket.protocol.constants import EventType

RECORDINGS = Path(__file__).parents[1] / "recordings"


@pytest.fixture(autouse=True)
def _no_reader_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "rbkit-client"]


# The address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://h:1/", "ws://h:1/?frames=binary"),
        ("wss://h", "wss://h/?frames=binary"),
        ("http://h:80/a/b", "ws://h:80/a/b?frames=binary"),
        ("HTTPS://H/", "wss://h/?frames=binary"),
        ("ws://[::1]:8000/", "ws://[::1]:8000/?frames=binary"),
        ("ws://h/?a=1&b=%20+x&c", "ws://h/?a=1&b=%20+x&c&frames=binary"),
        ("ws://h/?frames=text&a=1", "ws://h/?a=1&frames=binary"),
        ("ws://u:p@h/", "ws://h/?frames=binary"),
        ("ws://h/?server=1-a", "ws://h/?server=1-a&frames=binary"),
    ],
)
def test_url_is_translated_and_keeps_its_query(url, expected):
    assert parse_url(url).url == expected


@pytest.mark.parametrize(
    "url",
    ["http://h/?token=se%2Bcret&x=1", "http://h/?x=1#token=se%2Bcret", "http://h/?x=1#a=b&token=se%2Bcret"],
)
def test_a_token_in_query_or_fragment_moves_into_the_header(url):
    address = parse_url(url)
    assert (address.url, address.token) == ("ws://h/?x=1&frames=binary", "se+cret")
    assert "se+cret" not in repr(address)


def test_an_explicit_token_and_server_win_over_the_url():
    address = parse_url("ws://h/?token=old&server=old#token=older", token="new", server="7-a b&c")
    assert (address.token, address.url) == ("new", "ws://h/?server=7-a%20b%26c&frames=binary")


@pytest.mark.parametrize("url", ["", "h:80", "ftp://h/", "ws:///x", "ws://h:99999/", "ws://h:x/", "ws://[::1/"])
def test_an_address_that_cannot_be_one_is_refused(url):
    with pytest.raises(ConfigurationError, match="URL"):
        connect(url)


@pytest.mark.parametrize("token", ["a b", "a\r\nX-Evil: 1", "ü", ""])
def test_a_token_that_cannot_stand_in_a_header_is_refused(token):
    with pytest.raises(ConfigurationError, match="token"):
        connect("ws://127.0.0.1:1/", token=token)


@pytest.mark.parametrize(
    ("host", "expected"), [("localhost", True), ("127.8.9.1", True), ("[::1]", True), ("example.com", False)]
)
def test_loopback_is_known(host, expected):
    assert parse_url(f"ws://{host}/").loopback is expected


# Connecting


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
    assert time.monotonic() - started < 2


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


# Commands


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

    with peer(handler) as server, connect(server.url) as client, pytest.raises(ClientError):
        list(client)
    assert codes == [1002]


def test_an_unreadable_answer_is_a_protocol_error():
    def handler(connection: ServerConnection):
        for _ in connection:
            connection.send(b"0\x81\xa1")

    with peer(handler) as server, connect(server.url) as client:
        for _ in range(2):
            with pytest.raises(ProtocolError):
                client.command("x")


# Publications and notices


def test_iteration_gives_events_until_a_normal_close():
    def handler(connection: ServerConnection):
        connection.send(collection(1, {0: 2, 1: 1.0}, {0: 6, 1: 2.0, 2: {"count": 3}}))
        connection.send(collection(2, {0: 4, 1: 3.0}))
        connection.close(1000)

    with peer(handler) as server, connect(server.url) as client:
        assert next(iter(client)).type == EventType.GC_START
        # A second iteration goes on where the first one stopped, within a message too.
        assert [(event.type, event.payload) for event in client] == [
            (EventType.GC_STATS, {"count": 3}),
            (EventType.GC_END_SWEEP, None),
        ]
        assert client.lost == 0


def test_going_away_is_a_normal_end_and_an_error_code_is_not():
    def handler(connection: ServerConnection):
        connection.close(int(connection.request.path.partition("code=")[2][:4]), "why")

    with peer(handler) as server:
        with connect(f"{server.url}?code=1001") as client:
            assert list(client) == []
        with connect(f"{server.url}?code=1011") as client, pytest.raises(ConnectionClosed, match=r"1011.*why"):
            list(client)


def test_events_stop_after_their_time():
    def handler(connection: ServerConnection):
        connection.send(collection(1, {0: 2, 1: 1.0}))
        for _ in connection:
            pass

    with peer(handler) as server, connect(server.url) as client:
        started = time.monotonic()
        assert len(list(client.events(0.3))) == 1
        assert 0.25 < time.monotonic() - started < 3
        assert list(client.events(0)) == []


def test_events_stop_in_time_under_a_flood():
    stop = threading.Event()

    def handler(connection: ServerConnection):
        counter = 0
        while not stop.is_set():
            counter += 1
            connection.send(collection(counter, *({0: 2, 1: 1.0} for _ in range(50))))

    with peer(handler) as server, connect(server.url) as client:
        started = time.monotonic()
        assert sum(1 for _ in client.events(0.3)) >= 50
        assert time.monotonic() - started < 3
        stop.set()


def test_events_can_be_limited_to_some_kinds():
    def handler(connection: ServerConnection):
        connection.send(collection(1, {0: 2, 1: 1.0}, {0: 9, 1: 2.0, 2: [{12: "f"}]}, {0: 4, 1: 3.0}))
        connection.send(collection(2, {0: 9, 1: 4.0, 2: []}))
        connection.send(collection(3, {0: 9, 1: 5.0, 2: []}, {1: 6.0, 0: 6, 2: {"count": 1}}))
        for _ in connection:
            pass

    with peer(handler) as server, connect(server.url) as client:
        events = client.events(5, {EventType.GC_START, EventType.GC_STATS})
        assert [next(events).type for _ in range(2)] == [EventType.GC_START, EventType.GC_STATS]
        assert client.lost == 0


def test_gaps_of_the_counter_are_counted_as_lost():
    def handler(connection: ServerConnection):
        for counter in (5, 6, 9, 10, 1, 2):
            connection.send(collection(counter))

    with peer(handler) as server, connect(server.url) as client:
        assert list(client) == []
        assert client.lost == 2


def test_notices_are_kept_and_unknown_ones_ignored():
    def handler(connection: ServerConnection):
        for notice in ("0client_count:3", "0dropped:17", "0news:1"):
            connection.send(notice)
        ok_to_everything(connection)

    with peer(handler) as server, connect(server.url) as client:
        assert client.command("x") == b"ok"
        assert (client.client_count, client.dropped) == (3, 17)


def test_pings_are_answered_while_the_program_does_nothing():
    with peer(ok_to_everything, ping_interval=0.1, ping_timeout=0.3) as server, connect(server.url) as client:
        time.sleep(1.0)
        assert client.command("x") == b"ok"


def test_a_fragmented_message_arrives_whole():
    def handler(connection: ServerConnection):
        connection.recv()
        connection.send([b"0", b"o", b"k"])

    with peer(handler) as server, connect(server.url) as client:
        assert client.command("x") == b"ok"


def test_a_message_slower_than_the_socket_timeout_arrives_whole():
    def handler(connection: ServerConnection):
        connection.recv()
        whole = b"\x82\x03" + b"0ok"
        for byte in whole:
            connection.socket.sendall(bytes([byte]))
            time.sleep(0.15)

    with peer(handler) as server, connect(server.url, timeout=0.1) as client:
        assert client.command("x", timeout=5) == b"ok"


def test_close_ends_an_iteration_in_another_thread_and_sends_1000():
    codes = []

    def handler(connection: ServerConnection):
        try:
            connection.recv()
        except PeerConnectionClosed as error:
            codes.append(error.rcvd.code)

    with peer(handler) as server:
        client = connect(server.url)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(list(client)))
        thread.start()
        client.close()
        client.close()
        thread.join(5)
        assert seen == [[]]
        with pytest.raises(ConnectionClosed):
            client.command("x")
    assert codes == [1000]


def test_close_does_not_wait_for_a_peer_that_is_stuck(monkeypatch):
    monkeypatch.setattr("rbkit_websocket.client.client._CLOSE_WAIT", 0.2)
    done = threading.Event()

    def handler(connection: ServerConnection):
        done.wait(10)

    with peer(handler) as server:
        client = connect(server.url)
        # The peer's library answers a close frame from a thread of its own; a stuck peer is one that never gets it.
        monkeypatch.setattr(client._connection, "close", lambda *args: None)
        started = time.monotonic()
        client.close()
        assert time.monotonic() - started < 2
        done.set()


def test_tls_verifies_the_certificate_and_stands_two_threads(tmp_path, monkeypatch):
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command for a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def handler(connection: ServerConnection):
        for command in connection:
            for counter in range(20):
                connection.send(collection(counter, {0: 2, 1: 1.0}))
            connection.send(answer(command=command, filler="x" * 100_000))

    with peer(handler, ssl=context) as server:
        url = f"https://localhost:{server.port}/"
        with pytest.raises(ConnectionRefused, match="CERTIFICATE_VERIFY_FAILED"):
            connect(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with connect(url) as client:
            for number in range(50):
                assert client.command(f"c{number}")["command"] == f"c{number}"
            assert len(list(client.events(0.1))) == 1000


def test_it_works_under_gevent():
    script = """
from gevent import monkey; monkey.patch_all()
import sys, gevent, rbkit_websocket
ticks = []
def tick():
    while True:
        ticks.append(1); gevent.sleep(0.01)
gevent.spawn(tick)
with rbkit_websocket.connect(sys.argv[1]) as client:
    assert client.command("slow") == b"ok"
    assert len(list(client.events(0.1))) == 1
assert len(ticks) > 10, len(ticks)
"""

    def handler(connection: ServerConnection):
        connection.recv()
        time.sleep(0.3)
        connection.send(collection(1, {0: 2, 1: 1.0}))
        connection.send(b"0ok")
        connection.recv()

    with peer(handler) as server:
        subprocess.run([sys.executable, "-W", "error", "-c", script, server.url], check=True, timeout=30)


# The queue


def test_the_queue_is_bounded_and_counts_what_it_drops():
    queue = Publications(100)
    for counter in range(10):
        queue.append(collection(counter, {0: 2, 1: 1.0})[1:])
    assert len(queue) + queue.lost == 10
    assert queue.lost > 0
    assert message_counter(queue.popleft()) == queue.lost
    queue.append(msgpack.packb({9: 20, 2: "x" * 500}))
    assert len(queue) == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({0: 7, 9: 1, 2: [{0: 9}, {0: 2}, {0: 9}]}, {0: 7, 9: 1, 2: [{0: 2}]}),
        ({2: [{0: 9, 2: [1, {0: 2}]}], 9: 1}, {2: [], 9: 1}),
        ({0: 7, 2: [{0: 2}] * 20, 7: "x"}, {0: 7, 2: [{0: 2}] * 20, 7: "x"}),
        ({0: 2, 1: 5.0}, {0: 2, 1: 5.0}),
        ({0: 6, 2: {"count": 1}}, {0: 6, 2: {"count": 1}}),
        ({0: 7, 2: [1, 2]}, {0: 7, 2: [1, 2]}),
        ({0: 7, 2: [{0: [1]}]}, {0: 7, 2: [{0: [1]}]}),
    ],
)
def test_thinning_leaves_out_events_of_other_kinds_and_nothing_else(message, expected):
    packed = msgpack.packb(message)
    assert msgpack.unpackb(thinned(packed, {2}), strict_map_key=False) == expected
    for cut in range(len(packed)):
        assert packed[:cut].startswith(thinned(packed[:cut], {2})[:1])


@pytest.mark.parametrize(
    ("message", "counter"),
    [
        (msgpack.packb({0: 7, 9: 4, 2: []}), 4),
        (msgpack.packb({2: [{9: 1}], 9: 5}), 5),
        (msgpack.packb({0: 7}), None),
        (msgpack.packb({9: "x"}), None),
        (msgpack.packb([9, 9]), None),
        (b"\x81\x09", None),
        (b"\xc1", None),
        (b"", None),
    ],
)
def test_the_counter_is_read_without_the_events(message, counter):
    assert message_counter(message) == counter


def test_recordings_of_real_servers_are_readable():
    messages = [path.read_bytes() for path in sorted(RECORDINGS.iterdir())]

    def handler(connection: ServerConnection):
        for message in messages:
            connection.send(b"1" + message)

    with peer(handler) as server, connect(server.url) as client:
        assert {event.type for event in client} >= {EventType.CPU_SAMPLE, EventType.GC_STATS, EventType.OBJ_CREATED}


def test_connect_is_exported():
    assert rbkit_websocket.connect is connect
