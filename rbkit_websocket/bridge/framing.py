"""Channel and message as a WebSocket frame, in both framings (docs/protocol.rst)."""

from __future__ import annotations

import gevent

from ..protocol import envelope
from ..websocket.hardened import HardenedWebSocket, encode_frame, frame_header

__all__ = ["binary_frame", "binary_head", "text_frame"]


def binary_head(channel: bytes, length: int) -> bytes:
    """All of a binary frame but its message of ``length`` bytes, which may then be sent without being copied."""
    return frame_header(HardenedWebSocket.OPCODE_BINARY, len(channel) + length) + channel


def binary_frame(channel: bytes, message: bytes) -> bytes:
    """A binary frame."""
    return binary_head(channel, len(message)) + message


def text_frame(channel: bytes, message: bytes) -> bytes:
    """A text frame with the message escaped. Lets other greenlets run in between when the message is large."""
    slices = [channel]
    for escaped in envelope.escape_slices(message):
        slices.append(escaped)
        if len(message) > envelope.SLICE:
            gevent.sleep(0)
    return encode_frame(HardenedWebSocket.OPCODE_TEXT, b"".join(slices))
