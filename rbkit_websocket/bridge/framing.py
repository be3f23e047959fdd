"""Channel and message as a WebSocket frame, in both framings (docs/protocol.rst)."""

from __future__ import annotations

from collections.abc import Iterator

from ..protocol import envelope
from ..websocket.frames import HardenedWebSocket, frame_header

__all__ = ["binary_frame", "binary_head", "text_pieces"]


def binary_head(channel: bytes, length: int) -> bytes:
    """All of a binary frame but its message of ``length`` bytes, which may then be sent without being copied."""
    return frame_header(HardenedWebSocket.OPCODE_BINARY, len(channel) + length) + channel


def binary_frame(channel: bytes, message: bytes) -> bytes:
    """A binary frame."""
    return binary_head(channel, len(message)) + message


def text_pieces(channel: bytes, message: bytes | memoryview) -> Iterator[bytes]:
    """A text frame with the message escaped, in pieces that take about a millisecond to make; some are empty."""
    length = len(channel)
    for size in envelope.escaped_sizes(message):
        length += size
        yield b""
    head = frame_header(HardenedWebSocket.OPCODE_TEXT, length) + channel
    for escaped in envelope.escape_slices(message):
        yield head + escaped
        head = b""
    if head:
        yield head
