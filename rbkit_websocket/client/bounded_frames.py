"""Frames of a server that may be hostile: bounded before they are read, and kept in one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from websocket import ABNF, WebSocketProtocolException
from websocket._abnf import frame_buffer

__all__ = ["BoundedFrames", "TooLong"]

_MOST_CONTROL: Final = 125  # RFC 6455 section 5.5


class TooLong(Exception):
    """A frame announces more bytes than there is room for."""


class BoundedFrames(frame_buffer):
    """The library's reader of frames with a limit.

    Args:
        recv: gives at least one byte and at most as many as asked for.

    Attributes:
        room: bytes that the next frame may have.
    """

    def __init__(self, recv: Callable[[int], bytes], room: int) -> None:
        super().__init__(recv, True)
        self.room = room
        self._data = bytearray()

    def recv_length(self) -> None:
        """Raises :class:`TooLong` before anything of the payload is read."""
        super().recv_length()
        header: Any = self.header
        length: Any = self.length
        if header[4] in (ABNF.OPCODE_CLOSE, ABNF.OPCODE_PING, ABNF.OPCODE_PONG):
            if length > _MOST_CONTROL:
                raise WebSocketProtocolException("a control frame of the server is too long")
        elif length > self.room:
            raise TooLong

    def recv_strict(self, size: int) -> bytes:
        """Exactly ``size`` bytes. Bytes already read stay when it raises.

        The library keeps each call's bytes as an object of their own: for single bytes 50 times as much memory.
        """
        while len(self._data) < size:
            self._data += self.recv(min(65536, size - len(self._data)))
        data, self._data = self._data, bytearray()
        return bytes(data)
