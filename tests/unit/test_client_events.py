"""The blocking client against an independent WebSocket server: publications, notices, the end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import pytest
from support.clientpeer import answer, collection, ok_to_everything, peer
from support.transports import Authority
from support.waiting import scaled, wait_until
from websockets.exceptions import ConnectionClosed as PeerConnectionClosed
from websockets.sync.server import ServerConnection

from rbkit_websocket import ConfigurationError, ConnectionClosed, ConnectionRefused, connect
from rbkit_websocket.protocol.constants import EventType

RECORDINGS = Path(__file__).parents[1] / "recordings"


@pytest.fixture(autouse=True)
def _no_reader_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "rbkit-client"]


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
        assert 0.25 < time.monotonic() - started < scaled(3)
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
        assert time.monotonic() - started < scaled(3)
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
        wait_until(lambda: codes == [1000], "the close code at the server")


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
        assert time.monotonic() - started < scaled(2)
        done.set()


@pytest.mark.smoke
def test_tls_verifies_the_certificate_and_stands_two_threads(tmp_path, monkeypatch):
    authority = Authority(tmp_path, "localhost")

    def handler(connection: ServerConnection):
        for command in connection:
            for counter in range(20):
                connection.send(collection(counter, {0: 2, 1: 1.0}))
            connection.send(answer(command=command, filler="x" * 100_000))

    with peer(handler, ssl=authority.server_context()) as server:
        url = f"https://localhost:{server.port}/"
        with pytest.raises(ConnectionRefused, match=r"CERTIFICATE_VERIFY_FAILED.*give ssl=.*SSL_CERT_FILE"):
            connect(url)
        with connect(url, ssl=authority.client_context()) as client:
            for number in range(50):
                assert client.command(f"c{number}")["command"] == f"c{number}"
            assert len(list(islice(client.events(scaled(10)), 1000))) == 1000
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        with connect(url) as client:
            assert client.command("c")["command"] == "c"
        with pytest.raises(ConfigurationError, match="ssl is for wss://"):
            connect(f"http://localhost:{server.port}/", ssl=authority.client_context())


def test_a_context_counts_where_a_proxy_might_stand_between(tmp_path, monkeypatch):
    """Addresses beyond loopback are connected by the library, by another way."""
    authority = Authority(tmp_path, "localhost")
    monkeypatch.setattr("rbkit_websocket.client.address.Address.loopback", False)
    monkeypatch.setenv("no_proxy", "localhost")
    with peer(ok_to_everything, ssl=authority.server_context()) as server:
        url = f"wss://localhost:{server.port}/"
        with pytest.raises(ConnectionRefused, match=r"CERTIFICATE_VERIFY_FAILED.*give ssl="):
            connect(url)
        with connect(url, ssl=authority.client_context()) as client:
            assert client.command("ping") == b"ok"


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


def test_recordings_of_real_servers_are_readable():
    messages = [path.read_bytes() for path in sorted(RECORDINGS.glob("*.msgpack"))]

    def handler(connection: ServerConnection):
        for message in messages:
            connection.send(b"1" + message)

    with peer(handler) as server, connect(server.url) as client:
        assert {event.type for event in client} >= {EventType.CPU_SAMPLE, EventType.GC_STATS, EventType.OBJ_CREATED}
