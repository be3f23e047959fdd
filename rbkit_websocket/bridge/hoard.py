"""Bytes of a ZeroMQ message that is not whole yet: libzmq keeps them and bounds neither parts nor bytes.

``ZMQ_MAXMSGSIZE`` bounds one part, a high-water mark counts whole messages. Bytes in between show in the kernel's count
of the bytes that a TCP connection has received. Other connections (ipc) are not counted: their servers are on
this machine.
"""

from __future__ import annotations

import struct

# Not socket.socket, which gevent may have patched: its sockets watch the descriptor, which is libzmq's.
from _socket import AF_INET, SOCK_STREAM
from _socket import socket as Socket  # noqa: N812 - a class, under its usual name
from socket import IPPROTO_TCP
from typing import Final

from ..system.clock import time

__all__ = ["Flooded", "GivenUp", "Hoard"]

_LOOK: Final = 0.1
"""Seconds between two looks at it, as long as nothing is wrong."""

_LOOK_AGAIN: Final = 0.005

# Bytes that may be in the kernel's buffers, and bytes of a message's parts and heads.
_SLACK: Final = 16 * 1024 * 1024

# Bytes a second that are no part of a message: ZeroMQ's heartbeats, on a connection that says nothing for months.
_HEARTBEATS: Final = 100

_TCP_INFO: Final = 11  # linux/tcp.h
_BYTES_RECEIVED: Final = struct.Struct("=128xQ")  # of struct tcp_info


class Flooded(Exception):
    """A server has sent more than may be kept for it without ever completing a message."""

    def __str__(self) -> str:
        return "the Rbkit server sends without end (option max_server_message)"


class GivenUp(Flooded):
    """A server has sent too long a message, or no ZeroMQ: libzmq has given it up for good."""

    def __str__(self) -> str:
        return "the Rbkit server sent a longer message than max_server_message allows, or no ZeroMQ"


class Hoard:
    """The count of one connecting socket.

    Args:
        most: bytes that a message may have.

    Attributes:
        patience: seconds until the next look. A link of this machine brings half a gigabyte in a second.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._descriptor: int | None = None
        self._mark = 0
        self._since = time.monotonic()
        self._suspect = False
        self.patience = _LOOK

    def connected(self, descriptor: int | None) -> None:
        """Sets its connection, which is libzmq's; or none."""
        self._descriptor = descriptor
        self.taken()

    def taken(self) -> None:
        """Notes that all whole messages have been taken."""
        self._mark = self._received() or 0
        self._since = time.monotonic()
        self._suspect = False
        self.patience = _LOOK

    def check(self) -> None:
        """Counts; called while there is no whole message.

        Raises:
            Flooded: too many bytes have come since, twice in a row (the descriptor may just have become another's).
        """
        received = self._received()
        allowed = self._most + _SLACK + _HEARTBEATS * (time.monotonic() - self._since)
        suspect = received is not None and received - self._mark > allowed
        if suspect and self._suspect:
            raise Flooded
        self._suspect = suspect
        self.patience = _LOOK_AGAIN if suspect else _LOOK

    def _received(self) -> int | None:
        if self._descriptor is None:
            return None
        try:
            sock = Socket(AF_INET, SOCK_STREAM, 0, fileno=self._descriptor)
        except (OSError, ValueError):
            return None
        try:
            (received,) = _BYTES_RECEIVED.unpack(sock.getsockopt(IPPROTO_TCP, _TCP_INFO, _BYTES_RECEIVED.size))
            return int(received)
        except (OSError, struct.error):  # no TCP, no Linux, or an old one
            return None
        finally:
            sock.detach()
