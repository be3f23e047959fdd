"""The client against a server that means harm: memory, time, and what is shown of its words."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgpack
import pytest
from support.clientpeer import answer, peer
from support.hostilepeer import Behaviour, frame, hostile, upgraded
from support.program import run
from support.waiting import scaled, wait_until

from rbkit_websocket import CommandFailed, ConnectionClosed, ConnectionRefused, ProtocolError, connect
from rbkit_websocket.client.bounded_frames import BoundedFrames, TooLong
from rbkit_websocket.client.publications import Publications

MIB = 1024 * 1024
SENT = 300 * MIB


def endless(first: bytes, data: bytes) -> Behaviour:
    """Sends the one and then the other until 300 MiB are out, and then waits for the client to go."""

    def behave(connection: socket.socket) -> None:
        connection.settimeout(scaled(60))
        connection.sendall(first)
        for _ in range(SENT // len(data)):
            connection.sendall(data)
        connection.sendall(frame(b"0last"))
        while connection.recv(65536):
            pass

    return upgraded(behave)


def publication(size: int) -> bytes:
    return frame(b"1" + msgpack.packb({0: 7, 1: 1.0, 9: 1, 2: ["x" * size]}))


FLOODS: dict[str, tuple[bytes, bytes]] = {
    "megabytes": (b"", publication(MIB)),
    "a message of 4 GiB": (frame(b"", length=2**32), b"x" * MIB),
    "a text of 4 GiB": (frame(b"", 1, length=2**32), b"x" * MIB),
    "fragments without end": (frame(b"", fin=False), frame(b"x" * MIB, 0, fin=False)),
    "small fragments": (frame(b"", fin=False), frame(b"x" * 10_000, 0, fin=False) * 100),
    "text": (b"", frame("ä".encode() * (MIB // 2), 1)),
    "nearly as much as may be": (b"", publication(60 * MIB)),
}

# A client that reads nothing: all that comes waits in it.
CLIENT = """
import json, re
from pathlib import Path
from rbkit_websocket import connect
from rbkit_websocket.system.clock import time
import websocket
url, seconds = URL, SECONDS
def highest(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
before = highest()
client = connect(url)
deadline = time.monotonic() + seconds
while client.closed is None and time.monotonic() < deadline:
    time.sleep(0.01)
end = client.closed
print(json.dumps({"grown": highest() - before, "end": str(end), "code": getattr(end, "code", None)}))
client.close()
"""


@pytest.mark.parametrize("flood", FLOODS)
def test_a_client_that_reads_nothing_takes_no_more_than_its_bounds(flood: str) -> None:
    with hostile(endless(*FLOODS[flood])) as port:
        script = CLIENT.replace("URL", repr(f"ws://127.0.0.1:{port}/")).replace("SECONDS", str(scaled(60)))
        result = run(script)
    told = json.loads(result.stdout or result.stderr)
    print(f"\n{flood}: {told['grown']} MiB, {told['end']}")
    assert told["grown"] < 270, "the backlog, and a message three times: as it comes, whole, without its channel"
    if "4 GiB" in flood or "fragments" in flood:
        assert told["code"] == 1009
        assert "more than 67108864 bytes" in told["end"]
    else:
        assert "text frames" in told["end"] or "answer to no command" in told["end"], "it has read to the end"


def test_a_limit_of_ones_own() -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(frame(b"0" + b"x" * 999))
        connection.recv(65536)
        connection.sendall(frame(b"x" * 500, 2, fin=False) + frame(b"x" * 501, 0))
        while connection.recv(65536):
            pass

    with hostile(upgraded(behave)) as port, connect(f"ws://127.0.0.1:{port}/", max_message=1000) as client:
        assert client.command("ping") == b"x" * 999
        with pytest.raises(ConnectionClosed) as caught:
            client.command("ping")
        assert caught.value.code == 1009
        assert "more than 1000 bytes (max_message of connect())" in str(caught.value)


ONE_BY_ONE = """
import tracemalloc
from rbkit_websocket.client.bounded_frames import BoundedFrames
data = b"\\x82\\x7f" + (1 << 20).to_bytes(8, "big") + b"x" * (1 << 20)
pieces = iter(data)
frames = BoundedFrames(lambda _size: bytes((next(pieces),)), 2 << 20)
tracemalloc.start()
assert len(frames.recv_frame().data) == 1 << 20
print(tracemalloc.get_traced_memory()[1])
"""


def test_bytes_that_come_one_by_one_take_no_more_than_they_are() -> None:
    # In a process of its own: CPython 3.13.0 keeps tracemalloc's hook for references after its end.
    result = run(ONE_BY_ONE)
    assert result.returncode == 0, result.stderr
    assert MIB < int(result.stdout) < 5 * MIB
    data = frame(b"x" * MIB)
    with pytest.raises(TooLong):
        BoundedFrames(lambda size: data[:size], 10).recv_frame()


def test_a_queue_of_empty_messages_is_bounded_too() -> None:
    queue = Publications(100_000)
    for _ in range(10_000):
        queue.append(b"")
    assert len(queue) < 100_000 // sys.getsizeof(b"")
    assert len(queue) + queue.lost == 10_000
    while queue:
        queue.popleft()
    assert queue._size == 0


# -- time


def drips(data: bytes) -> Behaviour:
    """Sends a byte now and then, without end."""

    def behave(connection: socket.socket) -> None:
        position = 0
        while True:
            connection.sendall(data[position % len(data) :][:1])
            position += 1
            time.sleep(0.05)

    return behave


def says(data: bytes, forever: bytes = b"") -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.sendall(data)
        while forever:
            connection.sendall(forever)
        while connection.recv(65536):
            pass

    return behave


SLOW: dict[str, Behaviour] = {
    "nothing": says(b""),
    "a byte now and then": drips(b"H"),
    "headers now and then": drips(b"HTTP/1.1 101 x\r\n" + b"a: b\r\n" * 1000),
    "a body that does not come": says(b"HTTP/1.1 403 no\r\nContent-Length: 1000\r\n\r\n"),
    "a body now and then": drips(b"HTTP/1.1 403 no\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000),
}


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("name", SLOW)
def test_all_of_connecting_ends_in_its_time(name: str, scheme: str) -> None:
    with hostile(SLOW[name]) as port:
        began = time.monotonic()
        with pytest.raises(ConnectionRefused, match=r"no answer .* within 1 s|127.0.0.1"):
            connect(f"{scheme}://127.0.0.1:{port}/", timeout=1)
        assert time.monotonic() - began < scaled(3)


@pytest.mark.parametrize("endless", [b"a: b\r\n", b"x" * 1000])
def test_an_answer_without_end_is_not_read_to_its_end(endless: bytes) -> None:
    with (
        hostile(says(b"HTTP/1.1 200 OK\r\n", endless)) as port,
        pytest.raises(ConnectionRefused, match="more than 1048576 bytes"),
    ):
        connect(f"ws://127.0.0.1:{port}/", timeout=scaled(30))


def test_a_name_that_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    over = []

    def hangs(*_arguments: Any, **_options: Any) -> Any:
        wait_until(lambda: over, "the test's end", timeout=60)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    began = time.monotonic()
    with pytest.raises(ConnectionRefused, match=r"no answer from somewhere.example:80 within 0.3 s"):
        connect("ws://somewhere.example/", timeout=0.3)
    assert time.monotonic() - began < scaled(3)
    over.append(1)


def test_a_connection_that_comes_too_late_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    late = []
    real = socket.create_connection

    def slow(*arguments: Any, **options: Any) -> socket.socket:
        wait_until(lambda: late, "the client to give up")
        return real(*arguments, **options)

    with hostile(says(b"")) as port:
        monkeypatch.setattr(socket, "create_connection", slow)
        with pytest.raises(ConnectionRefused, match=r"within 0\.1 s"):
            connect(f"ws://127.0.0.1:{port}/", timeout=0.1)
        late.append(1)  # the leak check finds the descriptor, should it stay


# -- words

NASTY = "\x1b[2J\x1b]0;owned\x07\r\nadmin logged in \u202egnp\x9b31m"


def shown(error: Exception) -> str:
    text = str(error)
    assert text.isprintable(), repr(text)
    assert len(text) < 3000
    return text


def test_words_of_a_refusal_are_harmless() -> None:
    with peer(lambda _: None, refuse=(HTTPStatus.FORBIDDEN, NASTY + "x" * 100_000)) as server:
        with pytest.raises(ConnectionRefused) as caught:
            connect(server.url)
        assert "\\x1b[2J" in shown(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 403 \x1b[2Jno\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 x\r\nLocation: http://\x1b[2J" + b"y" * 10_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: \x1b[2J\r\n\r\n",
        b"HTTP/1.1 \x1b[2J x\r\n\r\n",
        b"\x1b[2J\r\n\r\n",
        b"HTTP/1.1 403 x\r\nContent-Length: \x1b[2J\r\n\r\n",
        b"HTTP/1.1 403 x\r\n\x1b[2J\r\n\r\n",
        b"HTTP/1.1 403 x\r\nContent-Length: 9\r\n\r\n\xff\xfe\x1b[2Jabc",
    ],
)
def test_words_of_odd_answers_are_harmless(response: bytes) -> None:
    with hostile(says(response)) as port:
        with pytest.raises(ConnectionRefused) as caught:
            connect(f"ws://127.0.0.1:{port}/", timeout=scaled(5))
        shown(caught.value)
        cause: BaseException | None = caught.value
        while cause is not None:
            assert "\x1b" not in str(cause)
            cause = cause.__cause__


def test_words_of_a_close_and_of_a_failure_are_harmless() -> None:
    def handler(connection: Any) -> None:
        connection.recv()
        connection.send(answer(error="bad\x1b[2J", message=NASTY))
        connection.recv()
        connection.close(4000, NASTY[:30])

    with peer(handler) as server, connect(server.url) as client:
        with pytest.raises(CommandFailed) as failed:
            client.command("x")
        assert "owned" in shown(failed.value)
        assert failed.value.message == NASTY, "the field is what was sent"
        with pytest.raises(ConnectionClosed) as closed:
            client.command("x")
        assert "\\x1b[2J" in shown(closed.value)


@pytest.mark.parametrize(
    "make",
    [lambda: ProtocolError(NASTY), lambda: ConnectionClosed(1000, NASTY * 1000), lambda: ConnectionClosed(1, "\udc80")],
)
def test_texts_are_one_printable_line(make: Callable[[], Exception]) -> None:
    shown(make())
