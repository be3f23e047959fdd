"""A ZeroMQ server on loopback that keeps to ZMTP 3.0's handshake and to nothing behind it (rfc.zeromq.org/spec/23)."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

from .hostilepeer import Behaviour

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


def zmtp_frame(payload: bytes, *, more: bool = False, length: int | None = None) -> bytes:
    """One part of a message; ``length`` claims another one than the payload has."""
    return struct.pack(">BQ", 2 | more, len(payload) if length is None else length) + payload


def zmtp(kind: str, behaviour: Behaviour) -> Behaviour:
    """Shakes hands as a socket of that kind (``PUB``, ``REP``, ``ROUTER``), and then behaves."""
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind.encode()

    def behave(connection: socket.socket) -> None:
        connection.sendall(_GREETING + struct.pack(">BB", 4, len(ready)) + ready)
        received = b""
        while len(received) < len(_GREETING) + 2:
            received += _some(connection)
        size = len(_GREETING) + 2 + received[len(_GREETING) + 1]
        while len(received) < size:
            received += _some(connection)
        behaviour(connection)

    return behave


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(4096)
    if not data:
        raise ConnectionResetError
    return data


def endless(first: bytes, data: bytes, count: Callable[[int], object], over: threading.Event) -> Behaviour:
    """Sends the one and then the other again and again, until ``over`` is set; ``count`` is told of each 's bytes."""

    def behave(connection: socket.socket) -> None:
        connection.settimeout(0.2)
        pending = memoryview(first + data)
        while not over.is_set():
            try:
                sent = connection.send(pending)
            except TimeoutError:
                continue  # nobody takes it
            count(sent)
            pending = pending[sent:] or memoryview(data)

    return behave
