"""Greenlets that always have something to do leave the event loop to the sockets, and to one of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket
from support.rawclient import PING, encode

from rbkit_websocket.websocket import turns
from rbkit_websocket.websocket.outbox import Outbox
from rbkit_websocket.websocket.session import Session
from rbkit_websocket.websocket.turns import Turn, give_way

ROUNDS = 100


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def turns_between(answers: int, worked: list[int]) -> list[int]:
    """Two greenlets talk through a socket pair; how often others had ``worked`` between two answers.

    Each answer needs the event loop to look at the sockets twice.
    """
    here, there = socket.socketpair()

    def echo() -> None:
        while data := there.recv(1):
            there.sendall(data)

    other = gevent.spawn(echo)
    counts = []
    with here, there, gevent.Timeout(60):
        for _ in range(answers):
            before = len(worked)
            here.sendall(b"x")
            here.recv(1)
            counts.append(len(worked) - before)
        other.kill()
    return counts


def busy(worked: list[int], yields: Callable[[], object]) -> None:
    while True:
        worked.append(1)
        yields()


def test_sleeping_for_no_time_does_not_let_the_sockets_in() -> None:
    worked: list[int] = []
    greenlet = gevent.spawn(busy, worked, lambda: gevent.sleep(0))
    counts = turns_between(ROUNDS, worked)
    greenlet.kill()
    assert sorted(counts)[ROUNDS // 10] >= 50, "what gevent does, and why there is a way of our own"


@pytest.mark.parametrize("count", [1, 2, 20])
def test_giving_way_does_for_however_many(count: int) -> None:
    worked: list[int] = []
    greenlets = [gevent.spawn(busy, worked, give_way) for _ in range(count)]
    counts = turns_between(ROUNDS, worked)
    # Each has a turn in its time.
    shares = len(worked)
    gevent.killall(greenlets)
    assert max(counts[1:]) <= 4
    assert shares >= ROUNDS
    give_way()
    assert not turns._queues, "nothing is left when nobody waits"


def test_whoever_has_given_way_goes_on_in_the_order_of_coming() -> None:
    order: list[int] = []

    def three(number: int) -> None:
        for _ in range(3):
            give_way()
            order.append(number)

    gevent.joinall([gevent.spawn(three, number) for number in range(4)], raise_error=True)
    assert order == [0, 1, 2, 3] * 3


def test_one_that_is_killed_meanwhile_holds_nobody_up() -> None:
    first, second, third = (gevent.spawn(give_way) for _ in range(3))
    gevent.sleep(0)
    second.kill()
    gevent.joinall([first, third], timeout=10, raise_error=True)
    assert first.successful()
    assert third.successful()


def test_each_thread_has_its_own() -> None:
    pool = gevent.get_hub().threadpool

    def in_thread() -> bool:
        workers = [gevent.spawn(lambda: [give_way() for _ in range(50)]) for _ in range(3)]
        gevent.joinall(workers, raise_error=True)
        gevent.get_hub().destroy()
        return True

    assert [result.get(timeout=30) for result in [pool.spawn(in_thread) for _ in range(3)]] == [True] * 3
    assert not turns._queues


def test_a_turn_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(turns, "give_way", lambda: given.append(1))
    turn = Turn()
    monkeypatch.setattr(turns, "TURN", 3600.0)
    turn.renew()
    turn.check()
    assert given == []
    monkeypatch.setattr(turns, "TURN", 0.0)
    turn.renew()
    turn.check()
    turn.check()
    assert given == [1, 1]


def test_a_flood_of_pings_lets_the_sockets_in(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A turn for each piece that is read, so that the test does not depend on how fast this machine is.
    monkeypatch.setattr(turns, "TURN", 0.0)
    ours, theirs = pair
    pings = encode(PING, b"flood") * 200
    worked: list[int] = []

    def read(size: int) -> bytes:
        worked.append(1)
        return ours.recv(size)

    session = Session(ours, read, lambda: False, max_message=1000, backlog=1000, ping_interval=60)
    client = [gevent.spawn(forever, theirs.sendall, pings), gevent.spawn(forever, theirs.recv, 65536)]
    reader = gevent.spawn(lambda: list(session.messages()))
    while not worked:
        gevent.sleep(0)
    counts = turns_between(ROUNDS, worked)
    gevent.killall([*client, reader])
    session.outbox.stop()
    assert sum(counts) > ROUNDS, "it was flooded all the time"
    assert max(counts[1:]) <= 4


def test_data_behind_a_violation_lets_the_sockets_in(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "TURN", 0.0)
    ours, theirs = pair
    session = Session(ours, ours.recv, lambda: False, max_message=1000, backlog=1000, ping_interval=60)
    theirs.sendall(b"\xff\xff")
    client = gevent.spawn(forever, theirs.sendall, b"x" * 65536)
    reader = gevent.spawn(lambda: list(session.messages()))
    worked: list[int] = []
    greenlet = gevent.spawn(busy, worked, give_way)
    counts = turns_between(ROUNDS, worked)
    assert not reader.dead, "it reads on until the client hangs up"
    gevent.killall([client, reader, greenlet])
    session.outbox.stop()
    assert max(counts[1:]) <= 4
    assert session.close_code == 1002


def test_a_backlog_that_the_client_takes_at_once_lets_the_sockets_in(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "TURN", 0.0)
    ours, theirs = pair
    made: list[int] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(1000):
            made.append(1)
            yield b"x" * 10

    outbox = Outbox(ours, 1_000_000)
    client = gevent.spawn(forever, theirs.recv, 65536)
    for _ in range(100):
        outbox.publish_later(pieces, 10_000)
    counts = turns_between(ROUNDS, made)
    outbox.stop()
    client.kill()
    assert sum(counts) > ROUNDS, "there was always something to write"
    assert max(counts[1:]) <= 4


def forever(function: Callable[..., object], *args: object) -> None:
    while True:
        function(*args)
