"""The receiving half of a WebSocket, fed with byte vectors."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable

import pytest
from support.rawclient import close_payload, encode

from rbkit_websocket.websocket.frames import (
    MAX_FRAGMENTS,
    Closed,
    HardenedWebSocket,
    encode_close,
    frame_header,
    unmask,
)

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def receiver(data: bytes, max_message: int = 1000) -> tuple[HardenedWebSocket, list[bytes]]:
    written: list[bytes] = []
    return HardenedWebSocket(io.BytesIO(data).read, written.append, max_message), written


def ending(data: bytes, max_message: int = 1000) -> Closed:
    websocket, _ = receiver(data, max_message)
    while True:
        try:
            websocket.receive()
        except Closed as end:
            return end


def test_text_and_binary_messages_arrive_as_bytes() -> None:
    websocket, _ = receiver(encode(TEXT, "prüfung".encode()) + encode(BINARY, b"\x00\xff") + encode(TEXT, b""))
    assert [websocket.receive() for _ in range(3)] == ["prüfung".encode(), b"\x00\xff", b""]


def test_fragments_become_one_message_and_pings_between_them_are_answered() -> None:
    data = encode(TEXT, b"hand", fin=False) + encode(PING, b"beat") + encode(0, b"shake")
    websocket, written = receiver(data)
    assert websocket.receive() == b"handshake"
    assert written == [bytes((0x8A, 4)) + b"beat"]


def test_a_character_split_between_fragments_is_whole() -> None:
    euro = "€".encode()
    websocket, _ = receiver(encode(TEXT, euro[:1], fin=False) + encode(0, euro[1:]))
    assert websocket.receive() == euro


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(encode(TEXT, b"ping", masked=False), 1002, id="unmasked"),
        pytest.param(encode(3, b""), 1002, id="reserved opcode"),
        pytest.param(encode(11, b""), 1002, id="reserved control opcode"),
        pytest.param(bytes((0xC1, 0x80)) + b"mask", 1002, id="reserved bit"),
        pytest.param(encode(PING, b"", fin=False), 1002, id="fragmented ping"),
        pytest.param(bytes((0x89, 0xFE, 0, 126)) + b"mask" + bytes(126), 1002, id="large ping"),
        pytest.param(encode(0, b"x"), 1002, id="continuation of nothing"),
        pytest.param(encode(TEXT, b"a", fin=False) + encode(TEXT, b"b"), 1002, id="message inside a message"),
        pytest.param(encode(CLOSE, b"\x03"), 1002, id="close with one byte"),
        pytest.param(encode(CLOSE, close_payload(1005)), 1002, id="close with 1005"),
        pytest.param(encode(CLOSE, close_payload(999)), 1002, id="close with 999"),
        pytest.param(encode(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007, id="close reason not UTF-8"),
        pytest.param(encode(TEXT, b"\xc3\x28"), 1007, id="text not UTF-8"),
        pytest.param(encode(TEXT, b"\xed\xa0\x80", fin=False) + encode(0, b""), 1007, id="surrogate in a fragment"),
        pytest.param(encode(TEXT, b"\xe2\x82"), 1007, id="text that ends inside a character"),
        pytest.param(encode(TEXT, bytes(1001)), 1009, id="too large"),
        pytest.param(encode(TEXT, bytes(600), fin=False) + encode(0, bytes(401)), 1009, id="too large together"),
        pytest.param(encode(TEXT, b"", fin=False) + encode(0, b"", fin=False) * MAX_FRAGMENTS, 1009, id="fragments"),
    ],
)
def test_a_violation_ends_with_its_code(data: bytes, code: int) -> None:
    end = ending(data)
    assert end.code == code
    assert end.reason
    assert not end.by_peer


def test_size_is_judged_before_the_payload_is_read() -> None:
    asked: list[int] = []
    data = io.BytesIO(bytes((0x81, 0xFF)) + struct.pack("!Q", 2**62) + b"mask")

    def read(size: int) -> bytes:
        asked.append(size)
        return data.read(size)

    with pytest.raises(Closed) as caught:
        HardenedWebSocket(read, lambda frame: None, 1000).receive()
    assert caught.value.code == 1009
    assert max(asked) < 100


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_close_frame_gives_its_code_and_reason(code: int) -> None:
    end = ending(encode(CLOSE, close_payload(code, "bye")))
    assert (end.code, end.reason, end.by_peer) == (code, "bye", True)


def test_an_empty_close_frame_gives_no_code() -> None:
    end = ending(encode(CLOSE, b""))
    assert (end.code, end.by_peer) == (None, True)
    assert encode_close(None) == b"\x88\x00"


@pytest.mark.parametrize("cut", range(9))
def test_a_stream_that_ends_anywhere_just_ends(cut: int) -> None:
    end = ending(encode(TEXT, b"abc")[:cut])
    assert (end.code, end.by_peer) == (None, False)


def test_a_reset_is_an_end() -> None:
    def read(size: int) -> bytes:
        raise ConnectionResetError

    with pytest.raises(Closed) as caught:
        HardenedWebSocket(read, lambda frame: None, 1000).receive()
    assert caught.value.code is None


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 1000])
def test_unmasking_is_the_xor_of_the_rfc(size: int) -> None:
    payload, mask = os.urandom(size), os.urandom(4)
    assert unmask(payload, mask) == bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


@pytest.mark.parametrize(
    ("size", "header"),
    [(0, b"\x82\x00"), (125, b"\x82\x7d"), (126, b"\x82\x7e\x00\x7e"), (65535, b"\x82\x7e\xff\xff")],
)
def test_frame_headers_use_the_shortest_length(size: int, header: bytes) -> None:
    assert frame_header(BINARY, size) == header
    assert frame_header(BINARY, 65536) == b"\x82\x7f" + struct.pack("!Q", 65536)


def test_a_close_reason_is_cut_between_characters() -> None:
    frame = encode_close(1011, "€" * 50)
    assert len(frame) == 2 + 2 + 123
    assert frame[4:].decode() == "€" * 41


def test_nothing_is_written_when_it_is_forgotten() -> None:
    written: list[bytes] = []
    make: Callable[[], object] = lambda: HardenedWebSocket(io.BytesIO().read, written.append, 10)  # noqa: E731
    make()
    assert written == []
