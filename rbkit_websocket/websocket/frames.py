"""gevent-websocket's WebSocket (0.10.1), hardened for the open internet.

Mended here: close() dropped its code, client frames need not be masked, neither messages nor fragments had a limit,
unmasking went byte by byte, receive() returned None for six different reasons, ``__del__`` wrote to a socket that may
be another connection's by then, and the close codes registered since RFC 6455 were refused.

This class reads and judges; everything it sends goes through the ``write`` it is given, so that one outbox orders all
writes of a connection.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any, Final

from geventwebsocket.exceptions import ProtocolError, WebSocketError
from geventwebsocket.websocket import Header, WebSocket

__all__ = ["Closed", "HardenedWebSocket", "encode_close", "encode_frame", "frame_header"]

# A browser sends a command in one frame. Autobahn's fuzzer uses some dozens of fragments.
MAX_FRAGMENTS: Final = 256

_UNASSIGNED_BELOW_3000: Final = (1004, 1005, 1006, 1015)


class Closed(Exception):
    """The receiving side is over.

    Attributes:
        code: the close code to answer with (for a client's own close frame: the one it sent), or None when the stream
            just ended and there is no peer to answer.
        reason: why, for the close frame and the log.
        by_peer: True when the client sent a close frame.
    """

    def __init__(self, code: int | None, reason: str = "", *, by_peer: bool = False) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.by_peer = by_peer


class _Stream:
    """The stream that gevent-websocket reads from and writes to."""

    __slots__ = ("read", "write")

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], None]) -> None:
        self.read = read
        self.write = write


def frame_header(opcode: int, length: int) -> bytes:
    """Header of an unfragmented, unmasked frame of ``length`` payload bytes (RFC 6455 section 5.2)."""
    first = 0x80 | opcode
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """A whole frame."""
    return frame_header(opcode, len(payload)) + payload


def encode_close(code: int | None, reason: str = "") -> bytes:
    """A close frame; the reason is cut to fit (RFC 6455 section 5.5: 125 bytes), at a character's end.

    Args:
        code: None sends an empty close frame, the answer to an empty one.
    """
    if code is None:
        return encode_frame(WebSocket.OPCODE_CLOSE, b"")
    text = reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore").encode("utf-8")
    return encode_frame(WebSocket.OPCODE_CLOSE, struct.pack("!H", code) + text)


def unmask(payload: bytes, mask: bytes) -> bytes:
    """``payload`` XOR the repeated mask (RFC 6455 section 5.3), as one operation on big integers."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


class HardenedWebSocket(WebSocket):  # type: ignore[misc]
    """The receiving half of a server's WebSocket.

    Args:
        read: gives exactly the bytes asked for, fewer at the end of the stream.
        write: takes one whole frame; pongs go through it.
        max_message: bytes a message may have, all fragments together.
    """

    __slots__ = ("_max_message",)

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], None], max_message: int) -> None:
        super().__init__(None, _Stream(read, write), None)
        self._max_message = max_message

    def __del__(self) -> None:
        """Does nothing: the session closes the connection (the base class would write a frame here)."""

    def receive(self) -> bytes:
        """The next message, text as its UTF-8 bytes. Pings are answered on the way.

        Raises:
            Closed: there is no next message; its fields say why.
        """
        try:
            return self.read_message()
        except UnicodeError:
            raise Closed(1007, "a text message has to be UTF-8") from None
        except ProtocolError as error:
            raise Closed(1002, str(error)) from None
        except (WebSocketError, OSError, ValueError):
            # End of stream, reset by the peer, or the file behind read() closed by a teardown.
            raise Closed(None, "the connection ended") from None

    def read_message(self) -> bytes:
        """Collects the fragments of one message (RFC 6455 section 5.4); control frames may stand between them."""
        opcode = 0
        message = bytearray()
        fragments = 0
        decoder = codecs.getincrementaldecoder("utf-8")()
        while True:
            header, payload = self.read_frame(self._max_message - len(message))
            kind = header.opcode
            if kind == self.OPCODE_PING:
                self.handle_ping(header, payload)
                continue
            if kind == self.OPCODE_PONG:
                continue
            if kind == self.OPCODE_CLOSE:
                self.handle_close(header, payload)
            if (kind == self.OPCODE_CONTINUATION) != bool(opcode):
                raise ProtocolError("a continuation frame follows a fragment, and nothing else does")
            opcode = opcode or kind
            fragments += 1
            if fragments > MAX_FRAGMENTS:
                raise Closed(1009, f"a message may have {MAX_FRAGMENTS} fragments")
            if opcode == self.OPCODE_TEXT:
                decoder.decode(payload, header.fin)  # fails at the first fragment that cannot become UTF-8
            message += payload
            if header.fin:
                return bytes(message)

    def read_frame(self, room: int | None = None) -> tuple[Any, bytes]:
        """One frame, judged by its header before its payload is read."""
        header = Header.decode_header(self.stream)
        if header.flags:
            raise ProtocolError("a reserved bit is set, but no extension was agreed on")
        if header.opcode not in (0x0, 0x1, 0x2, 0x8, 0x9, 0xA):
            raise ProtocolError(f"opcode {header.opcode:#x} is reserved")
        if not header.mask:
            raise ProtocolError("a client has to mask its frames")  # RFC 6455 section 5.1
        if header.opcode < 0x8 and header.length > (self._max_message if room is None else room):
            raise Closed(1009, f"a message may have {self._max_message} bytes")
        payload = self.raw_read(header.length) if header.length else b""
        if len(payload) != header.length:
            raise WebSocketError("the stream ended inside a frame")
        return header, unmask(payload, header.mask)

    def handle_ping(self, header: Any, payload: bytes) -> None:
        self.raw_write(encode_frame(self.OPCODE_PONG, payload))

    def handle_close(self, header: Any, payload: bytes) -> None:
        """Always raises :class:`Closed` with the code to echo (RFC 6455 section 5.5.1)."""
        if not payload:
            raise Closed(None, by_peer=True)
        if len(payload) == 1:
            raise ProtocolError("a close frame has no body or at least two bytes")
        (code,) = struct.unpack("!H", payload[:2])
        if not self._is_valid_close_code(code):
            raise ProtocolError(f"{code} is no close code that may be sent")
        raise Closed(code, payload[2:].decode("utf-8"), by_peer=True)

    def _is_valid_close_code(self, code: int) -> bool:
        # RFC 6455 section 7.4 and IANA's registry, where 1012 to 1014 were added.
        return (1000 <= code <= 1014 and code not in _UNASSIGNED_BELOW_3000) or 3000 <= code <= 4999
