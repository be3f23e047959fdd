"""The bytes on an embedded server's Unix socket (a stream; unix(7)).

Each message is its length, 4 bytes with the most significant first, and its bytes. A client's first message says what
it wants: ``commands`` or ``publications``. The server's first one accepts or refuses: ``ok``, or ``no`` and the reason.
Then a client of commands sends one command after the other and gets the answers in their order; a client of
publications gets publications.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from ..errors import ProtocolError

__all__ = ["ACCEPTED", "LOCAL", "REFUSED", "WANTS_COMMANDS", "WANTS_PUBLICATIONS", "Splitter", "endpoint_path", "head"]

LOCAL: Final = "unix://"
"""The scheme of an embedded server's endpoint."""

WANTS_COMMANDS: Final = b"commands"
WANTS_PUBLICATIONS: Final = b"publications"
ACCEPTED: Final = b"ok"
REFUSED: Final = b"no "

_LENGTH: Final = struct.Struct(">I")


def endpoint_path(endpoint: str) -> str | None:
    """Path of the Unix socket of a ``unix://`` endpoint; None for ZeroMQ's."""
    return endpoint[len(LOCAL) :] if endpoint.startswith(LOCAL) else None


def head(length: int) -> bytes:
    """The bytes before a message of ``length`` bytes."""
    return _LENGTH.pack(length)


class Splitter:
    """Splits a stream of bytes into whole messages.

    Args:
        most: bytes of the longest message.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> None:
        """Takes bytes in."""
        self._buffer += data

    def messages(self) -> Iterator[bytes]:
        """The messages that are complete, each once.

        Raises:
            ProtocolError: a message is announced as longer than ``most``; the stream is useless from then on.
        """
        buffer = self._buffer
        while len(buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer)
            if length > self._most:
                raise ProtocolError(f"a message of {length} bytes, where {self._most} are the most")
            end = _LENGTH.size + length
            if len(buffer) < end:
                return
            with memoryview(buffer) as view:
                message = bytes(view[_LENGTH.size : end])
            del buffer[:end]
            yield message
