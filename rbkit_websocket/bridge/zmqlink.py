"""The ZeroMQ context of this process's bridge, and the state of a connecting socket's link."""

from __future__ import annotations

import os
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..system.clock import time
from ..transport.curve import ClientKeys
from ..transport.zmqcontext import new_context
from .hoard import GivenUp, Hoard

__all__ = ["Link", "bridge_socket"]

# By process id, since a context never crosses a fork (libzmq's rule). Contexts of parent processes stay untouched.
_contexts: dict[int, zmq.Context[zmq.Socket[bytes]]] = {}

# A dead peer of a TCP link that sends no FIN (its machine lost power) is noticed after these milliseconds.
_HEARTBEAT_IVL: Final = 1000
_HEARTBEAT_TIMEOUT: Final = 3000
_HEARTBEAT_TTL: Final = 10_000
_RECONNECT_IVL: Final = 100

# Messages that libzmq may hold for us while the event loop is blocked: these bytes, but two messages in any case, and
# as many as a publisher keeps by default.
_KEPT: Final = 256 * 1024 * 1024
_FEWEST: Final = 2
_MOST_WAITING: Final = 1000

# libzmq's thread tells of a new attempt right after the loss. Without one it has given up the peer, and never says so.
_DECIDED_IN: Final = 1.0


def bridge_socket(kind: int, endpoint: str, keys: ClientKeys | None, most: int) -> zmq.Socket[bytes]:
    """A socket of this process's own context, to be connected to ``endpoint``, with CURVE if there are keys.

    The context stays for the life of the process: making one starts two threads.

    Args:
        most: bytes that a part of a message may have. libzmq hangs up on a peer that announces more, for good.

    Raises:
        NoRoom: there is no context yet, and the process has too few descriptors or threads left for one.
        zmq.ZMQError: no descriptor is left for the socket.
    """
    context = _contexts.get(os.getpid())
    if context is None:
        made = new_context()
        context = _contexts.setdefault(os.getpid(), made)
        if context is not made:
            made.term()  # another thread was faster
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.linger = 0
    socket.maxmsgsize = most
    # Whole messages. Where they are full libzmq reads no further, and the server has to wait or to drop.
    socket.rcvhwm = max(_FEWEST, min(_MOST_WAITING, _KEPT // most))
    socket.reconnect_ivl = _RECONNECT_IVL
    socket.heartbeat_ivl = _HEARTBEAT_IVL
    socket.heartbeat_timeout = _HEARTBEAT_TIMEOUT
    # The server gives us up as well when our machine is the one that disappears, and then stops our profilers.
    socket.heartbeat_ttl = _HEARTBEAT_TTL
    if "[" in endpoint:
        socket.ipv6 = True
    if keys is not None:
        keys.apply(socket)
    return socket


class Link:
    """Whether a connecting socket has its peer, told by libzmq's monitor.

    Attributes:
        monitor: the socket whose readiness means news.
        up: the ZMTP handshake with the peer is done, so it really is a ZeroMQ server.
        unreachable: an attempt has failed, and none has succeeded since.
        refusal: why the ZMTP handshake failed, if the last one did; None otherwise.
        losses: how often the peer has been lost. A peer that came back between two looks is up, but does not know the
            former one's commands.
    """

    _EVENTS: Final = (
        zmq.EVENT_HANDSHAKE_SUCCEEDED
        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        | zmq.EVENT_DISCONNECTED
        | zmq.EVENT_CLOSED
        | zmq.EVENT_CONNECT_RETRIED
        | zmq.EVENT_CONNECTED
    )

    def __init__(self, socket: zmq.Socket[bytes], endpoint: str, keys: ClientKeys | None, hoard: Hoard) -> None:
        self._socket = socket
        self._hoard = hoard
        # Over ipc there are no keys: a handshake that fails there is a server that ends.
        self._remote = endpoint.startswith("tcp://")
        self._keys = keys
        # Attempts in a row that the peer ended in the midst of the handshake, without a word.
        self._hung_up = 0
        # When the peer was lost, as long as it is not tried again.
        self._lost: float | None = None
        self.monitor: zmq.Socket[bytes] = socket.get_monitor_socket(self._EVENTS)
        self.up = False
        self.unreachable = False
        self.refusal: str | None = None
        self.losses = 0

    @property
    def undecided(self) -> bool:
        """Whether the peer has been lost, and it is not known yet if it will be tried again."""
        return self._lost is not None

    def look(self) -> None:
        """Reads the monitor's news.

        Raises:
            GivenUp: the peer has been lost and is not tried again, because of a message of its own.
        """
        while True:
            try:
                message = self.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            news = parse_monitor_message(message)
            if news["event"] == zmq.EVENT_CONNECTED:
                self._hoard.connected(news["value"])
            else:
                self._take(news["event"])
        if self._lost is not None and time.monotonic() - self._lost > _DECIDED_IN:
            raise GivenUp

    def _take(self, event: int) -> None:
        if event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED):
            self._hoard.connected(None)
        self.losses += event == zmq.EVENT_DISCONNECTED
        self._lost = time.monotonic() if event == zmq.EVENT_DISCONNECTED else None
        self.up = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        told = event in (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        if self.up or told or event == zmq.EVENT_CLOSED:  # the last: no server listens there
            self._hung_up, self.refusal = 0, None
        elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self._hung_up += self._remote
        # A server that ends hangs up as well: the next attempt, a moment later, shows the reason.
        self.unreachable = not self.up and self._hung_up != 1
        if self._remote and (told or self._hung_up > 1):
            self.refusal = self._explain(event)

    def _explain(self, event: int) -> str:
        # Short enough for a close frame: 123 bytes (RFC 6455 section 5.5).
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return "it does not know this side's CURVE key"
        wrong = "it wants CURVE keys, or is no ZeroMQ server"
        if self._keys is not None:
            wrong = "wrong server key, or it does not use CURVE"
        return f"{wrong}, or is down behind a proxy" if self._hung_up else wrong

    def close(self) -> None:
        """Ends the monitoring; before the socket is closed."""
        self._socket.disable_monitor()
        self.monitor.close(0)  # disable_monitor() only forgets it
