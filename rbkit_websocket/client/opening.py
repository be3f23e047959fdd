"""Makes the connection to a server: all steps within one time-out."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final

import websocket
from websocket._http import connect as _connect
from websocket._http import proxy_info

from ..system.clock import time
from .address import Address

__all__ = ["Opening", "reach"]

_MOST: Final = 1024 * 1024
"""Bytes of an HTTP answer; a page of the application may come instead of ours, and no more of it is read."""


def reach(address: Address, deadline: float, context: ssl.SSLContext | None) -> socket.socket:
    """A socket that is connected to the address, over TLS if the address says so.

    Raises:
        TimeoutError: not connected by ``deadline`` (monotonic). The look-up of a name cannot be ended: a thread goes on
            with it, and closes the socket that comes of it.
        OSError, websocket.WebSocketException, ValueError: it cannot be connected.
    """
    outcome: list[socket.socket | Exception] = []
    changed = threading.Condition()
    waiting = True

    def attempt() -> None:
        try:
            result: socket.socket | Exception = _attempt(address, _left(deadline), context)
        except Exception as error:  # noqa: BLE001 (the waiting thread raises it)
            result = error
        with changed:
            outcome.append(result)
            changed.notify()
            late = not waiting
        if late and not isinstance(result, Exception):
            result.close()

    threading.Thread(target=attempt, name="rbkit-connect", daemon=True).start()
    with changed:
        changed.wait_for(lambda: outcome, _left(deadline))
        waiting = False
    if not outcome:
        raise TimeoutError
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())


def _attempt(address: Address, timeout: float, context: ssl.SSLContext | None) -> socket.socket:
    if not address.loopback:
        options = websocket.WebSocket(sslopt={"context": context} if context else None).sock_opt
        options.timeout = timeout
        return _connect(address.url, options, proxy_info(), None)[0]  # type: ignore[no-untyped-call]
    # The library would ask a proxy of the environment for this very machine.
    sock = socket.create_connection((address.host, address.port), timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.secure:
            return (context or ssl.create_default_context()).wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise
    return sock


class Opening:
    """The library's socket while it asks for the upgrade: bounded in time and in bytes altogether.

    A server that sends a byte now and then, or headers without end, would hold the library up for ever.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._received = 0

    def recv(self, size: int) -> bytes:
        data: bytes = self._in_time(self._sock.recv)(size)
        self._received += len(data)
        if self._received > _MOST:
            raise websocket.WebSocketException(f"its answer has more than {_MOST} bytes")
        return data

    def send(self, data: bytes) -> int:
        sent: int = self._in_time(self._sock.send)(data)
        return sent

    def _in_time(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if time.monotonic() >= self._deadline:
            raise TimeoutError
        self._sock.settimeout(_left(self._deadline))
        return function

    def gettimeout(self) -> float:
        return _left(self._deadline)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()
