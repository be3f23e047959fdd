"""A bound on the connections of the server's TCP ports, which take the application's descriptors.

libzmq accepts every connection, in a thread of its own, and offers no bound. So its monitor tells of connections that
come and go, and when there are too many the ports are unbound, which ends them all, and bound again a little later:
clients of ZeroMQ come back by themselves. libzmq's handshake time-out ends silent connections before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..system.clock import time
from ..system.headroom import descriptors_left

__all__ = ["Ports"]

# Milliseconds for the handshake: three turns to another continent and back.
_HANDSHAKE: Final = 5000
# Connections that wait to be accepted.
_BACKLOG: Final = 16
# Of all ports together; a client has two. No more than an eighth of the descriptors.
_MOST: Final = 256
# Descriptors left to the application at any time; and the number for opening the ports again.
_KEPT: Final = 32
_ENOUGH: Final = 64
# Seconds between two looks at that.
_LOOK_EVERY: Final = 1.0
# Seconds that the ports stay shut.
_PAUSE: Final = 5.0
_EVENTS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED


class Ports:
    """Watches sockets that are bound to TCP endpoints; used by the server's thread alone.

    Args:
        poll: a ``select.poll`` object, which is told of each monitor's descriptor.
        warn: gets a line when the ports are shut.
    """

    def __init__(self, poll: Any, warn: Callable[[str], None]) -> None:
        self._poll = poll
        self._warn = warn
        self._monitors: dict[Any, Any] = {}
        self._bound: list[tuple[Any, str]] = []
        self._unbound: list[tuple[Any, str]] = []
        self._connections: set[tuple[int, int]] = set()
        self._shut_until: float | None = None
        self._next_look = 0.0
        self._most = _limit()

    def prepare(self, socket: Any) -> None:
        """Before a socket is bound."""
        socket.handshake_ivl = _HANDSHAKE
        socket.backlog = _BACKLOG
        if socket not in self._monitors:
            self._monitors[socket] = monitor = socket.get_monitor_socket(_EVENTS)
            self._poll.register(monitor.FD, zmq.POLLIN)

    def add(self, socket: Any) -> None:
        """After it has been bound."""
        self._bound.append((socket, socket.last_endpoint.rstrip(b"\0").decode()))

    @property
    def deadline(self) -> float | None:
        """The monotonic time of work without news of a socket; None for never."""
        return (self._shut_until or self._next_look) if self._bound else None

    @property
    def ready(self) -> bool:
        """Whether a monitor has news that have not been taken."""
        return any(monitor.EVENTS & zmq.POLLIN for monitor in self._monitors.values())

    def turn(self) -> None:
        """Once a turn: takes the news, shuts the ports or opens them again."""
        if not self._bound:
            return
        now, came = time.monotonic(), False
        for socket, monitor in self._monitors.items():
            while (event := _receive(monitor)) is not None:
                came = True
                change = (
                    self._connections.discard if event["event"] == zmq.EVENT_DISCONNECTED else self._connections.add
                )
                change((id(socket), int(event["value"])))
        if self._shut_until is not None:
            if now >= self._shut_until:
                self._open()
        elif came or now >= self._next_look:
            self._next_look = now + _LOOK_EVERY
            if self._too_many():
                self._shut()

    def _too_many(self) -> bool:
        left = descriptors_left()
        return len(self._connections) > self._most or (left is not None and left < _KEPT)

    def _shut(self) -> None:
        for socket, endpoint in self._bound:
            _attempt(socket.unbind, endpoint)
        self._unbound = self._bound.copy()
        self._shut_until = time.monotonic() + _PAUSE
        self._warn(
            f"{len(self._connections)} connections to the ports, and {descriptors_left()} descriptors left for the "
            f"application: all are ended, and the ports shut for {_PAUSE:g} s or more. Let only trusted clients "
            "reach them, or raise the limit of descriptors (ulimit -n)"
        )

    def _open(self) -> None:
        # The monitors' remaining news are of ended connections.
        for monitor in self._monitors.values():
            while _receive(monitor) is not None:
                pass
        self._connections.clear()
        left = descriptors_left()
        if left is not None and left < _ENOUGH:
            self._shut_until = time.monotonic() + _PAUSE
            return
        # Another process may have taken a port meanwhile: the others are open, and it is tried again.
        self._unbound = [
            (socket, endpoint) for socket, endpoint in self._unbound if not _attempt(socket.bind, endpoint)
        ]
        self._shut_until = time.monotonic() + _PAUSE if self._unbound else None

    def close(self) -> None:
        """Before the sockets are closed."""
        for socket, monitor in self._monitors.items():
            self._poll.unregister(monitor.FD)
            socket.disable_monitor()
            monitor.close(0)
        self._monitors.clear()
        self._bound.clear()


def _limit() -> int:
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if soft == resource.RLIM_INFINITY else max(8, min(_MOST, soft // 8))


def _attempt(call: Callable[[str], object], endpoint: str) -> bool:
    try:
        call(endpoint)
    except zmq.ZMQError:
        return False
    return True


def _receive(monitor: Any) -> dict[str, Any] | None:
    try:
        return dict(parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK)))
    except zmq.Again:
        return None
