"""The Unix socket of an embedded server and those at its ends, when somebody stalls, leaves or says too much."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from support.waiting import scaled, wait_until

from rbkit_websocket.bridge import probe
from rbkit_websocket.bridge.feed import Feed
from rbkit_websocket.bridge.sources import publications
from rbkit_websocket.errors import ProtocolError
from rbkit_websocket.server.server import Server
from rbkit_websocket.transport import LocalConnection
from rbkit_websocket.transport.wire import WANTS_COMMANDS, Splitter, head


def message(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(path=str(tmp_path / "s"), server_id="1-00000000")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "p"))
        listener.listen()
        yield listener


def test_messages_are_split_wherever_the_stream_is_cut() -> None:
    stream = b"".join(map(message, (b"", b"a", b"b" * 1000)))
    for cut in range(len(stream)):
        splitter, found = Splitter(1000), []
        for part in (stream[:cut], stream[cut:]):
            splitter.feed(part)
            found += splitter.messages()
        assert found == [b"", b"a", b"b" * 1000]


def test_a_message_that_claims_too_much_is_refused_before_it_comes() -> None:
    splitter = Splitter(1000)
    splitter.feed(head(1001))
    with pytest.raises(ProtocolError, match="1001 bytes, where 1000 are the most"):
        next(splitter.messages())


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", message(b"nonsense"), message(b"commands") + head(1 << 30)]
)
def test_whoever_says_something_else_is_hung_up_on(server: Server, said: bytes) -> None:
    assert server.path is not None
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(scaled(10))
        stranger.connect(server.path)
        stranger.sendall(said)
        heard = b""
        while data := stranger.recv(1000):
            heard += data
    assert not heard or heard[4:6] in (b"no", b"ok")
    client = LocalConnection(server.path, WANTS_COMMANDS)
    try:
        wait_until(lambda: client.look() or client.up, "another to be let in")
    finally:
        client.close()


def test_whoever_does_not_read_the_answers_is_not_read_any_more(server: Server) -> None:
    assert server.path is not None
    with socket.socket(socket.AF_UNIX) as greedy:
        greedy.connect(server.path)
        greedy.sendall(message(WANTS_COMMANDS))
        greedy.settimeout(0.5)
        with pytest.raises(TimeoutError):
            greedy.sendall(message(b"handshake") * 2_000_000)


def test_what_a_feed_has_not_taken_is_the_servers_to_keep(publisher: socket.socket) -> None:
    source = publications(f"unix://{publisher.getsockname()}", None, 1 << 20)
    connection, _ = publisher.accept()
    stream = message(b"ok") + message(b"x" * 100_000) * 60
    sender = threading.Thread(target=connection.sendall, args=(stream,), daemon=True)
    sender.start()
    try:
        # One is taken a turn, as by a pump whose event loop has much else to do.
        for _ in range(60):
            wait_until(lambda: next(source.messages(), None), "a message")
            assert len(source._connection._messages) < 8  # type: ignore[attr-defined]
    finally:
        sender.join(scaled(10))
        connection.close()
        source.close()


def test_a_publisher_that_hangs_up_alone_ends_its_listeners(publisher: socket.socket) -> None:
    class Listener:
        outbox = None
        text = False
        reasons: list[str] = []  # noqa: RUF012 - of one test

        def send_text(self, text: str) -> None:
            pass

        def give_up(self, reason: str) -> None:
            self.reasons.append(reason)

    endpoint, listener = f"unix://{publisher.getsockname()}", Listener()
    feed = Feed.join(endpoint, listener, None, 1 << 20)  # type: ignore[arg-type]
    connection, _ = publisher.accept()
    connection.sendall(message(b"ok"))
    assert feed.wait_connected(scaled(5))
    connection.close()
    with gevent.Timeout(scaled(10)):
        while not listener.reasons:
            gevent.sleep(0.01)
    assert "publishes no more" in listener.reasons[0]
    feed.leave(listener)  # type: ignore[arg-type]


def test_a_server_that_is_gone_keeps_nobody_busy_who_waits_for_another(
    publisher: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    wait = probe._wait
    monkeypatch.setattr(probe, "_wait", lambda *arguments: waits.append(1) or wait(*arguments))
    gone, mute = probe.ask_status([(f"unix://{tmp_path}/gone", None), (f"unix://{publisher.getsockname()}", None)], 0.3)
    assert (gone.answered, mute.answered) == (False, False)
    assert len(waits) < 10


def test_a_forked_child_lets_go_of_its_parents_connections(server: Server) -> None:
    assert server.path is not None
    client = LocalConnection(server.path, WANTS_COMMANDS)
    wait_until(lambda: client.look() or client.up, "the connection")
    pid = os.fork()
    if not pid:
        os._exit(0 if client.over and not client.send(b"handshake") else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert client.send(b"handshake")
    wait_until(lambda: client.look() or client.take(), "the answer")
    client.close()
