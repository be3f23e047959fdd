"""The WebSocket framing of rbkit-websocket: a one-byte channel in front of each message.

``0`` is the answer to a command, ``1`` one published message. The bytes travel in a binary WebSocket message; for the
browser clients written for the Ruby middleware (``frames="text"``) they are percent-escaped in a text message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from ..errors import ProtocolError

__all__ = [
    "ANSWER",
    "PUBLICATION",
    "client_count",
    "dropped",
    "escape",
    "escape_slices",
    "escaped_sizes",
    "split",
    "unescape",
]

ANSWER: Final = b"0"
PUBLICATION: Final = b"1"

# The decoders in the field are JavaScript's unescape(), which leaves "+" alone, and CGI.unescape, which reads "+" as a
# space. "%20" and "%2B" are read alike by both, so neither character ever stands for itself.
_UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"
_ESCAPES: Final = tuple(bytes((i,)) if i in _UNRESERVED else b"%%%02X" % i for i in range(256))

SLICE: Final = 16 * 1024
"""Escaping costs tens of milliseconds a MiB: whoever does it in an event loop gives way after each of these slices."""
_COUNTED: Final = 16 * SLICE


def escape(data: bytes) -> bytes:
    """``data`` percent-escaped: ASCII bytes in which only letters, digits and ``_.-~`` stand for themselves."""
    return b"".join(map(_ESCAPES.__getitem__, data))


def escape_slices(data: bytes | memoryview) -> Iterator[bytes]:
    """Like :func:`escape`, in pieces of 16 KiB of input, so that the caller can let others run in between."""
    for start in range(0, len(data), SLICE):
        yield escape(bytes(data[start : start + SLICE]))


def escaped_sizes(data: bytes | memoryview) -> Iterator[int]:
    """Lengths that add up to that of what :func:`escape` makes of ``data``, which is not made for it.

    Some 50 times as fast as making it, so in pieces of 256 KiB.
    """
    for start in range(0, len(data), _COUNTED):
        piece = bytes(data[start : start + _COUNTED])
        yield len(piece) + 2 * len(piece.translate(None, _UNRESERVED))


def unescape(data: str | bytes) -> bytes:
    """What :func:`escape`, ``CGI.escape`` or JavaScript's ``escape()`` made, as bytes (``+`` reads as a space)."""
    text = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
    return unquote_to_bytes(text.replace(b"+", b" "))


def client_count(count: int) -> str:
    """The notice that tells older clients of a new one; ``count`` includes the new one."""
    return f"0client_count:{count}"


def dropped(count: int) -> str:
    """The notice that ``count`` publications have been lost to this client since it connected."""
    return f"0dropped:{count}"


def split(frame: bytes) -> tuple[bytes, bytes]:
    """Channel (``b"0"`` or ``b"1"``) and message of one binary frame.

    Raises:
        ProtocolError: the frame is empty or its channel is neither.
    """
    channel = frame[:1]
    if channel not in (ANSWER, PUBLICATION):
        raise ProtocolError(f"a frame starts with 0 or 1, this one with {channel!r}")
    return channel, frame[1:]
