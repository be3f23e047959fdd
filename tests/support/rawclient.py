"""WebSocket clients: a raw socket for byte vectors, and helpers over the ``websockets`` package, an independent peer.

A deadline of :data:`DEADLINE` seconds is on every read, so that a server which says nothing fails the test.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import websockets.exceptions
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from .waiting import scaled

DEADLINE = 10.0
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


@dataclass(frozen=True)
class Frame:
    """One frame as it came over the wire."""

    opcode: int
    payload: bytes
    fin: bool = True
    masked: bool = False
    reserved: int = 0

    @property
    def close_code(self) -> int | None:
        """Code of a close frame."""
        return struct.unpack("!H", self.payload[:2])[0] if len(self.payload) >= 2 else None

    @property
    def close_reason(self) -> str:
        """Reason of a close frame."""
        return self.payload[2:].decode()


@dataclass(frozen=True)
class HttpResponse:
    """The answer to a request. Header names are lower case; a repeated header keeps its last value."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes = b""
    head: bytes = field(default=b"", repr=False)


def encode(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    masked: bool = True,
    reserved: int = 0,
    length: int | None = None,
) -> bytes:
    """A frame; ``length`` claims another length than the payload has."""
    claimed = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if claimed < 126:
        head += bytes([mask_bit | claimed])
    elif claimed < 65536:
        head += bytes([mask_bit | 126]) + struct.pack("!H", claimed)
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", claimed)
    if not masked:
        return head + payload
    key = os.urandom(4)
    repeated = key * (len(payload) // 4 + 1)
    return head + key + bytes(a ^ b for a, b in zip(payload, repeated, strict=False))


def close_payload(code: int, reason: str = "") -> bytes:
    """Payload of a close frame."""
    return struct.pack("!H", code) + reason.encode()


KEY = base64.b64encode(b"sixteen bytes...").decode()
ACCEPT = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
"""What a server must answer to :data:`KEY`."""


def upgrade_request(
    target: str = "/",
    *,
    method: str = "GET",
    version: str = "HTTP/1.1",
    protocols: str | None = "rbkit",
    drop: tuple[str, ...] = (),
    extra: tuple[tuple[str, str], ...] = (),
    **changed: str,
) -> bytes:
    """An upgrade request; ``drop`` leaves headers out, ``changed`` replaces them (``Sec_WebSocket_Key=...``)."""
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **({} if protocols is None else {"Sec-WebSocket-Protocol": protocols}),
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    lines = [f"{method} {target} {version}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name not in drop]
    lines += [f"{name}: {value}" for name, value in extra]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def target_of(url: str) -> str:
    """Path and query of an address."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


class RawClient:
    """A TCP connection that reads HTTP responses and WebSocket frames; a context manager.

    Args:
        port: on 127.0.0.1.
        receive_buffer: SO_RCVBUF, small for a client that is to be slow.
    """

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(scaled(DEADLINE))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # Bytes

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def _fill(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError(f"the server closed the connection; unread: {bytes(self._buffer[:200])!r}")
        self._buffer += data

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes; EOFError when the server closes before."""
        while len(self._buffer) < count:
            self._fill()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to and with ``mark``."""
        while (end := self._buffer.find(mark)) < 0:
            self._fill()
        return self.read(end + len(mark))

    def read_to_end(self) -> bytes:
        """Everything until the server closes; a reset counts as closing."""
        try:
            while True:
                self._fill()
        except (EOFError, ConnectionResetError):
            data = bytes(self._buffer)
            self._buffer.clear()
            return data

    # HTTP

    def request(self, data: bytes) -> HttpResponse:
        """Sends a request and reads the response."""
        self.send(data)
        return self.response()

    def response(self) -> HttpResponse:
        """One HTTP response, with the body that Content-Length, chunks or the end of the connection delimit."""
        head = self.read_until(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        version, status, reason = (status_line + "  ").split(" ", 2)
        assert version.startswith("HTTP/1."), f"no HTTP response: {head!r}"
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        code = int(status)
        if code < 200 or code in (204, 304):
            body = b""
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(self._chunks())
        elif "content-length" in headers:
            body = self.read(int(headers["content-length"]))
        else:
            body = self.read_to_end()
        return HttpResponse(code, reason.strip(), headers, body, head)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.read_until(b"\r\n").split(b";")[0], 16):
            yield self.read(size)
            self.read(2)
        self.read_until(b"\r\n")

    # WebSocket

    def upgrade(self, target: str = "/", *, behind: bytes = b"", **options: Any) -> HttpResponse:
        """Sends an upgrade request with ``behind`` in the same segment and asserts that it is accepted."""
        response = self.request(upgrade_request(target, **options) + behind)
        assert response.status == 101, f"{response.status} {response.reason}: {response.body!r}"
        return response

    def send_frame(self, opcode: int, payload: bytes = b"", **options: Any) -> None:
        """Sends one frame; see :func:`encode`."""
        self.send(encode(opcode, payload, **options))

    def send_text(self, text: str) -> None:
        """Sends a command as clients do."""
        self.send_frame(TEXT, text.encode())

    def frame(self) -> Frame:
        """The next frame."""
        first, second = self.read(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.read(8))
        key = self.read(4) if second & 0x80 else None
        payload = self.read(length)
        if key:
            payload = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
        return Frame(first & 0x0F, payload, bool(first & 0x80), key is not None, first >> 4 & 7)

    def message(self) -> Frame:
        """The next whole message or close frame; pings are answered, pongs skipped, fragments joined."""
        parts: list[Frame] = []
        while True:
            frame = self.frame()
            assert not frame.masked, "a server must not mask"
            assert not frame.reserved, "no extension was agreed on"
            if frame.opcode == PING:
                self.send_frame(PONG, frame.payload)
            elif frame.opcode == CLOSE:
                return frame
            elif frame.opcode != PONG:
                parts.append(frame)
                if frame.fin:
                    return Frame(parts[0].opcode, b"".join(part.payload for part in parts))

    def answer(self) -> bytes:
        """The next answer without its channel; notices and publications before it are skipped."""
        while True:
            message = self.message()
            assert message.opcode != CLOSE, f"closed with {message.close_code}: {message.close_reason}"
            if message.opcode == BINARY and message.payload[:1] == b"0":
                return message.payload[1:]

    def publication(self) -> bytes:
        """The next publication without its channel (binary framing); notices before it are skipped."""
        while True:
            message = self.message()
            assert message.opcode != CLOSE, f"closed with {message.close_code}: {message.close_reason}"
            if message.opcode == BINARY:
                return message.payload[1:]

    def command(self, text: str) -> bytes:
        """Sends a command and returns its answer (binary framing)."""
        self.send_text(text)
        return self.answer()

    def closing(self) -> Frame:
        """The close frame; messages before it are skipped."""
        while (message := self.message()).opcode != CLOSE:
            pass
        return message

    def close(self, code: int = 1000, reason: str = "") -> Frame:
        """The closing handshake from this side: returns the server's close frame after the connection has ended."""
        self.send_frame(CLOSE, close_payload(code, reason))
        frame = self.closing()
        rest = self.read_to_end()
        assert rest == b"", f"bytes behind the close frame: {rest[:200]!r}"
        return frame


class RbkitConnection:
    """A session over the ``websockets`` package: ``command()`` returns answers, what else comes is collected.

    Attributes:
        publications: published messages so far, without their channel.
        notices: text notices so far (``client_count:2``), without the ``0``.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.publications: deque[bytes] = deque()
        self.notices: list[str] = []

    def command(self, text: str, timeout: float = DEADLINE) -> bytes:
        """Sends a command and returns its answer."""
        self.send(text)
        return self.answer(timeout)

    def send(self, text: str) -> None:
        """Sends a command only."""
        self.connection.send(text)

    def answer(self, timeout: float = DEADLINE) -> bytes:
        """The next answer."""
        deadline = time.monotonic() + scaled(timeout)
        while (answer := self._receive(deadline)) is None:
            pass
        return answer

    def publication(self, timeout: float = DEADLINE) -> bytes:
        """The next publication, those collected before first."""
        deadline = time.monotonic() + scaled(timeout)
        while not self.publications:
            assert self._receive(deadline) is None, "an answer nobody asked for"
        return self.publications.popleft()

    def notice(self, timeout: float = DEADLINE) -> str:
        """The next text notice, those collected before first."""
        deadline = time.monotonic() + scaled(timeout)
        while not self.notices:
            assert self._receive(deadline) is None, "an answer nobody asked for"
        return self.notices.pop(0)

    def _receive(self, deadline: float) -> bytes | None:
        message = self.connection.recv(timeout=max(0.001, deadline - time.monotonic()))
        if isinstance(message, str):
            assert message[:1] == "0", f"a text frame that is no notice: {message[:100]!r}"
            self.notices.append(message[1:])
        elif message[:1] == b"1":
            self.publications.append(message[1:])
        else:
            assert message[:1] == b"0", f"a frame of no channel: {message[:100]!r}"
            return message[1:]
        return None

    def closed(self, timeout: float = DEADLINE) -> tuple[int, str]:
        """Waits for the server to close; code and reason of its close frame (1006 when there was none)."""
        deadline = time.monotonic() + scaled(timeout)
        try:
            while True:
                self._receive(deadline)
        except websockets.exceptions.ConnectionClosed as error:
            return (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")


@contextmanager
def connect_rbkit(url: str, *, token: str | None = None, **options: Any) -> Iterator[RbkitConnection]:
    """A session with the subprotocol rbkit at ``url``; ``token`` goes into the Authorization header.

    Raises:
        websockets.exceptions.InvalidStatus: the upgrade was refused.
    """
    headers = dict(options.pop("additional_headers", {}))
    if token:
        headers["Authorization"] = f"Bearer {token}"
    options = {
        "subprotocols": [Subprotocol("rbkit")],
        "compression": None,
        "max_size": None,
        "max_queue": None,
        "open_timeout": scaled(DEADLINE),
        "close_timeout": scaled(DEADLINE),
        "ping_interval": None,
        "proxy": None,
        **options,
    }
    with connect(url, additional_headers=headers, **options) as connection:
        assert connection.subprotocol == "rbkit", f"the server chose {connection.subprotocol!r}"
        yield RbkitConnection(connection)
