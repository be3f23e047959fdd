"""What a TCP connection has received without a whole message: counted where the kernel counts, and nowhere else."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from support.waiting import wait_until

from rbkit_websocket.bridge import hoard
from rbkit_websocket.bridge.hoard import Flooded, Hoard

MOST = 100_000


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    monkeypatch.setattr(hoard, "_SLACK", 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


def receive(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    pair[1].sendall(b"x" * size)
    while size > 0:
        size -= len(pair[0].recv(size))


def test_more_than_a_message_that_is_not_whole_is_a_flood(pair: tuple[socket.socket, socket.socket]) -> None:
    kept = Hoard(MOST)
    kept.connected(pair[0].fileno())
    receive(pair, MOST)
    kept.check()
    kept.check()
    receive(pair, MOST // 10)
    kept.check()  # once may be another's descriptor
    with pytest.raises(Flooded, match="max_server_message"):
        kept.check()
    kept.taken()
    for _ in range(3):
        receive(pair, MOST)
        kept.check()
        kept.check()
        kept.taken()
    assert pair[0].fileno() >= 0, "the descriptor stays whose it is"


def test_heartbeats_of_a_long_silence_are_no_flood(pair: tuple[socket.socket, socket.socket]) -> None:
    kept = Hoard(1000)
    kept.connected(pair[0].fileno())
    receive(pair, 50_000)
    kept._since -= 3600
    kept.check()
    kept.check()


@pytest.mark.parametrize("descriptor", [None, -1, 1_000_000])
def test_what_is_no_connection_is_not_counted(descriptor: int | None) -> None:
    kept = Hoard(0)
    kept.connected(descriptor)
    kept.check()
    kept.check()


def test_a_unix_socket_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hoard, "_SLACK", 0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        kept = Hoard(0)
        kept.connected(ours.fileno())
        theirs.sendall(b"x" * 1000)
        wait_until(lambda: len(ours.recv(1000, socket.MSG_PEEK)) == 1000, "the bytes")
        kept.check()
        kept.check()
