"""A WebSocket server on loopback that keeps to no rule: what it sends is up to the test, byte by byte."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .waiting import scaled

Behaviour = Callable[[socket.socket], None]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(payload: bytes, opcode: int = 2, *, fin: bool = True, length: int | None = None) -> bytes:
    """A frame of a server; ``length`` claims another one than the payload has."""
    size = len(payload) if length is None else length
    first = opcode | (0x80 if fin else 0)
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def upgraded(behaviour: Behaviour) -> Behaviour:
    """Accepts the upgrade as it should be, and then behaves."""

    def behave(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
        assert key
        accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: rbkit\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        behaviour(connection)

    return behave


@contextmanager
def hostile(behaviour: Behaviour) -> Iterator[int]:
    """Lets every connection be treated like that, in a thread of its own, until it ends; the port."""
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connections.append(connection)
                threads.append(threading.Thread(target=treat, args=(connection,)))
                threads[-1].start()

        def treat(connection: socket.socket) -> None:
            with connection:
                try:
                    behaviour(connection)
                except OSError:
                    pass  # the client has gone

        acceptor = threading.Thread(target=serve)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(scaled(10))
            for connection in connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # closed already
            for thread in threads:
                thread.join(scaled(10))
                assert not thread.is_alive()
