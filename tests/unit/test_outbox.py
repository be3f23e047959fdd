"""The writer of a connection over real sockets with small buffers, so that writes are truly short."""

from __future__ import annotations

import socket as plain_socket
from collections.abc import Iterator
from functools import partial

import gevent
import pytest
from gevent import socket
from support.waiting import wait_until

from rbkit_websocket.websocket.outbox import Outbox

BUFFER = 8192


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(plain_socket.SOL_SOCKET, plain_socket.SO_SNDBUF, BUFFER)
    with ours, theirs:
        yield ours, theirs


def drain(sock: socket.socket, size: int) -> bytes:
    received = bytearray()
    with gevent.Timeout(10):
        while len(received) < size:
            received += sock.recv(65536)
    return bytes(received)


def block(outbox: Outbox) -> bytes:
    """Fills the kernel's buffer, so that everything behind it waits; returns what will arrive first."""
    frame = b"f" * 1_000_000
    outbox.publish((frame,), len(frame), 1)
    assert outbox.waiting
    return frame


def test_what_the_kernel_takes_at_once_starts_no_greenlet(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 1000)
    outbox.publish((b"head", b"body"), 8, 1)
    outbox.send(b"answer")
    assert not outbox.waiting
    assert drain(pair[1], 14) == b"headbodyanswer"


def test_a_short_write_is_continued_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 10_000_000)
    expected = block(outbox)
    for number in range(50):
        part = bytes((number,)) * 5000
        outbox.publish((part[:10], memoryview(part)[10:]), len(part), 1)
        expected += part
    assert drain(pair[1], len(expected)) == expected
    assert outbox.flush(1)
    assert not outbox.waiting
    assert outbox.lost == 0


def test_answers_overtake_waiting_publications_but_no_frame_in_flight(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    outbox = Outbox(pair[0], 10_000_000)
    first = block(outbox)
    outbox.publish((b"publication",), 11, 1)
    outbox.send(b"answer")
    expected = first + b"answer" + b"publication"
    assert drain(pair[1], len(expected)) == expected


def test_publications_past_the_limit_are_dropped_and_told_and_answers_are_not(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    outbox = Outbox(pair[0], 10_000, notice=lambda count: b"<lost %d>" % count)
    first = block(outbox)
    for _ in range(5):
        outbox.publish((b"p" * 4000,), 4000, 3)
    outbox.send(b"answer")
    assert outbox.lost == 9
    assert 8000 <= outbox.backlog < 9000
    expected = first + b"answer" + b"<lost 9>" + b"p" * 8000
    assert drain(pair[1], len(expected)) == expected
    assert outbox.flush(1)
    outbox.publish((b"again",), 5, 1)
    assert drain(pair[1], 5) == b"again"


def test_dropping_goes_on_until_a_quarter_is_left(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 402_000)
    first = block(outbox)
    for _ in range(4):
        outbox.publish((b"p" * 100_000,), 100_000, 1)
    outbox.publish((b"x" * 100_000,), 100_000, 1)
    assert outbox.lost == 1
    received = drain(pair[1], len(first) + 150_000)
    outbox.publish((b"y",), 1, 1)
    assert outbox.lost == 2, "there is room for one byte, but hysteresis says no"
    received += drain(pair[1], len(first) + 400_000 - len(received))
    assert outbox.flush(1)
    assert received == first + b"p" * 400_000


def test_sealing_discards_publications_and_keeps_answers(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 10_000_000)
    first = block(outbox)
    outbox.publish((b"publication",), 11, 1)
    outbox.send(b"answer")
    outbox.seal(b"close")
    outbox.send(b"too late")
    outbox.publish((b"too late",), 8, 1)
    assert drain(pair[1], len(first) + 11) == first + b"answerclose"
    assert outbox.flush(1)
    pair[0].shutdown(plain_socket.SHUT_WR)
    assert pair[1].recv(100) == b""


def test_a_flood_of_control_frames_is_cut_off(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 10_000_000)
    block(outbox)
    for _ in range(10_000):
        outbox.send_control(b"pong")
    assert outbox.urgent_bytes < 1000
    outbox.stop()


def test_a_vanished_client_breaks_it_without_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 10_000_000)
    block(outbox)
    outbox.send(b"answer")
    pair[1].close()
    assert not outbox.flush(5)
    assert outbox.broken
    assert not outbox.waiting
    outbox.send(b"nobody reads this")
    outbox.publish((b"nor this",), 8, 1)
    assert outbox.urgent_bytes == outbox.backlog == 0


def test_stopping_joins_the_writer(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 10_000_000)
    block(outbox)
    outbox.stop()
    assert not outbox.waiting
    assert not outbox.flush(0)


def test_a_producer_of_answers_waits_for_the_client(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 10_000_000)
    first = block(outbox)
    outbox.send(b"a" * 5000)
    outbox.send(b"b")
    waiting = gevent.spawn(outbox.wait_for_room, 1000)
    gevent.sleep(0)
    assert not waiting.dead
    drain(pair[1], len(first) + 5001)
    waiting.get(timeout=5)


def test_a_frame_that_is_dear_to_make_is_made_when_its_turn_has_come(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 10_000)
    first = block(outbox)
    made: list[int] = []

    def pieces(number: int) -> Iterator[bytes]:
        made.append(number)
        yield b""
        yield b"<%d" % number
        outbox.send(b"answer")
        yield b">"

    for number in range(5):
        outbox.publish_later(partial(pieces, number), 4000)
    gevent.sleep(0)
    assert made == []
    assert outbox.lost == 3
    expected = first + b"<0>answer<1>answer"
    assert drain(pair[1], len(expected)) == expected
    assert outbox.flush(5)
    assert made == [0, 1], "what is dropped is not made"
    outbox.publish_later(partial(pieces, 7), 4000)
    assert drain(pair[1], 9) == b"<7>answer"


def test_a_frame_that_is_begun_is_finished_before_the_close_frame(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 10_000_000)

    def pieces() -> Iterator[bytes]:
        yield b"x" * 1_000_000
        yield b"y"

    outbox.publish_later(pieces, 3)
    outbox.publish_later(pieces, 3)
    wait_until(lambda: gevent.sleep(0.001) or 0 < outbox.backlog < 300, "the first to be begun")
    outbox.seal(b"close")
    assert drain(pair[1], 1_000_006) == b"x" * 1_000_000 + b"yclose"
    assert outbox.flush(5)


def test_what_was_lost_before_is_told_though_nothing_waits(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 10_000, notice=lambda count: b"<lost %d>" % count)
    outbox.miss(4)
    assert drain(pair[1], 8) == b"<lost 4>"
    assert outbox.flush(5)
    outbox.miss(3)
    outbox.publish((b"next",), 4, 1)
    assert drain(pair[1], 12) == b"<lost 7>next"
    silent = Outbox(pair[0], 10_000)
    silent.miss(2)
    assert silent.lost == 2
    assert not silent.waiting


def test_publications_of_hardly_a_byte_are_bounded_too(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 100_000)
    block(outbox)
    for _ in range(1000):
        outbox.publish((b"x",), 1, 1)
        outbox.publish_later(lambda: iter((b"",)), 0)
    assert outbox.lost > 1500, "each takes some hundred bytes of memory"
    assert outbox.backlog <= 100_000
    outbox.stop()


def test_an_answer_that_is_dear_to_make_keeps_its_place(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox = Outbox(pair[0], 10_000_000)
    first = block(outbox)
    outbox.publish((b"publication",), 11, 1)
    outbox.send(b"one")
    outbox.send_later(lambda: iter((b"t", b"", b"wo")), 1000)
    assert outbox.urgent_bytes == 1003
    outbox.send(b"three")
    outbox.seal(b"close")
    expected = first + b"onetwothreeclose"
    assert drain(pair[1], len(expected)) == expected
    assert outbox.flush(5)
    assert outbox.urgent_bytes == 0
