"""The server's ZeroMQ sockets, where ports are configured: XPUB for events, ROUTER for commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import zmq

from ..system.clock import time
from ..transport.curve import ServerKeys
from ..transport.zmqcontext import new_context
from .door import MAX_COMMAND
from .ports import Ports

__all__ = ["ZmqSender", "ZmqSockets"]

# Messages that may wait for one slow subscriber. A heap message is about 100 KiB, so a subscriber that stalls in the
# middle of a snapshot costs some 50 MiB at the most; at snapshot_rate it may fall behind by seconds and lose nothing.
HIGH_WATER: Final = 500
_COMMANDS_A_TURN: Final = 50


_ZAP: Final = "inproc://zeromq.zap.01"  # ZeroMQ RFC 27
_DOMAIN: Final = b"rbkit"
# Seconds between two lines about refused clients: one that tries often must not fill a log.
_SAY_AGAIN: Final = 10.0


class ZmqSender:
    """The sender of a command, and the way for its answer."""

    __slots__ = ("_frames", "_socket")

    def __init__(self, socket: Any, frames: list[bytes]) -> None:
        self._socket = socket
        self._frames = frames

    @property
    def client(self) -> str:
        """A name for the connection that the command came through."""
        return f"{id(self._socket)} {self._frames[0].hex()}"

    def answer(self, message: bytes) -> None:
        """Sends the answer; a client that has gone gets nothing."""
        try:
            self._socket.send_multipart([*self._frames, message], zmq.NOBLOCK)
        except zmq.ZMQError:
            pass


class ZmqSockets:
    """The sockets: made and bound by the starting thread, then used by the server's alone.

    With keys, TCP endpoints have sockets of their own that speak CURVE alone, beside the sockets for ipc.

    Args:
        poll: a ``select.poll`` object, which is told of each socket's descriptor. They are edge-triggered: look at
            :attr:`ready` before each wait.
        keys: the server's CURVE keys; None: TCP endpoints are open.
        warn: gets a line about clients that are not let in.

    Raises:
        NoRoom: there is no room for a context.
    """

    def __init__(self, poll: Any, keys: ServerKeys | None, warn: Callable[[str], None]) -> None:
        self._poll = poll
        self._keys = keys
        self._warn = warn
        self._silent_until = 0.0
        # By whether they are guarded by CURVE.
        self._pubs: dict[bool, Any] = {}
        self._reqs: dict[bool, Any] = {}
        self._zap: Any = None
        self.topics: set[tuple[bool, bytes]] = set()
        self._context: Any = new_context()
        self._ports = Ports(poll, warn)

    def bind(self, pub: Sequence[str], req: Sequence[str]) -> None:
        """Binds endpoints, more of them any time.

        Raises:
            OSError: one of them cannot be bound; those before it are.
        """
        try:
            self._bind_all(pub, req)
        except zmq.ZMQError as error:
            raise OSError(str(error)) from error

    def _bind_all(self, pub: Sequence[str], req: Sequence[str]) -> None:
        for endpoint in pub:
            guarded = self._guarded(endpoint)
            if guarded not in self._pubs:
                # XPUB, because it tells of subscribers that come and leave.
                self._pubs[guarded] = self._socket(zmq.XPUB, guarded)
                self._pubs[guarded].sndhwm = HIGH_WATER
                # The limit of incoming messages: libzmq holds them in memory before a client has shown any key.
                self._pubs[guarded].maxmsgsize = MAX_COMMAND
            self._bind(self._pubs[guarded], endpoint)
        for endpoint in req:
            guarded = self._guarded(endpoint)
            if guarded not in self._reqs:
                self._reqs[guarded] = self._socket(zmq.ROUTER, guarded)
                self._reqs[guarded].maxmsgsize = MAX_COMMAND
            self._bind(self._reqs[guarded], endpoint)

    def _guarded(self, endpoint: str) -> bool:
        return self._keys is not None and endpoint.startswith("tcp://")

    def _bind(self, socket: Any, endpoint: str) -> None:
        socket.ipv6 = "[" in endpoint
        is_port = endpoint.startswith("tcp://")
        if is_port:
            self._ports.prepare(socket)
        socket.bind(endpoint)
        if is_port:
            self._ports.add(socket)

    def _socket(self, kind: int, guarded: bool = False) -> Any:
        if guarded and self._zap is None:
            # Before any question: without a handler libzmq lets in every client that knows the server's public key.
            self._zap = self._socket(zmq.REP)
            self._zap.bind(_ZAP)
        socket = self._context.socket(kind)
        socket.linger = 0
        if guarded and self._keys is not None:
            self._keys.apply(socket, _DOMAIN)
        self._poll.register(socket.FD, zmq.POLLIN)
        return socket

    def _all(self) -> list[Any]:
        # The ZAP handler last: the sockets that ask it have to end before it.
        zap = () if self._zap is None else (self._zap,)
        return [*self._pubs.values(), *self._reqs.values(), *zap]

    @property
    def ready(self) -> bool:
        """Whether a message has come in that has not been taken yet."""
        return self._ports.ready or any(socket.EVENTS & zmq.POLLIN for socket in self._all())

    @property
    def deadline(self) -> float | None:
        """The monotonic time of work without news of a socket; None for never."""
        return self._ports.deadline

    def turn(self) -> None:
        """Once a turn: counts connections, and answers libzmq's own questions."""
        self._ports.turn()
        if self._zap is not None:
            self._authenticate(self._zap)

    def _authenticate(self, zap: Any) -> None:
        """Tells libzmq, which asks by ZAP, whether the client of a CURVE handshake may come in."""
        while (frames := _receive(zap)) is not None:
            _version, request, domain, address, _identity, mechanism, *credentials = frames
            known = (
                self._keys is not None
                and (domain, mechanism) == (_DOMAIN, b"CURVE")
                and [len(key) for key in credentials] == [32]
                and self._is_authorized(self._keys, credentials[0])
            )
            status = (b"200", b"OK") if known else (b"400", b"unknown key")
            zap.send_multipart([b"1.0", request, *status, b"", b""])
            if not known and time.monotonic() >= self._silent_until:
                self._silent_until = time.monotonic() + _SAY_AGAIN
                client = address.decode("ascii", "replace")
                self._warn(f"refused a ZeroMQ client from {client}: its key is not authorized")

    @staticmethod
    def _is_authorized(keys: ServerKeys, key: bytes) -> bool:
        try:
            return keys.is_authorized(key)
        except Exception:  # noqa: BLE001 - without an answer libzmq's question would be the last one
            return False

    def subscriptions(self) -> None:
        """Reads subscriptions that have come and gone into ``topics``."""
        for guarded, socket in self._pubs.items():
            while (message := _receive(socket)) is not None:
                if message[0][:1] == b"\x01":
                    self.topics.add((guarded, message[0][1:]))
                elif message[0][:1] == b"\x00":
                    self.topics.discard((guarded, message[0][1:]))

    def commands(self) -> Iterator[tuple[str, ZmqSender]]:
        """Up to 50 commands of each socket that have come in, each with the envelope that its answer needs."""
        for socket in tuple(self._reqs.values()):
            for _ in range(_COMMANDS_A_TURN):
                frames = _receive(socket)
                if frames is None:
                    break
                # The envelope ends with the first empty frame (REQ; correlated REQ puts its number before it). A
                # DEALER that sends none has the identity alone.
                end = frames.index(b"", 1) + 1 if b"" in frames[1:-1] else 1
                body = frames[end] if len(frames) > end else b""
                yield body.decode("utf-8", "replace"), ZmqSender(socket, frames[:end])

    def publish(self, message: bytes) -> None:
        """Sends to all subscribers; one more than the high-water mark behind loses the message."""
        for guarded in {guarded for guarded, _ in self.topics}:
            try:
                self._pubs[guarded].send(message, zmq.NOBLOCK)
            except zmq.ZMQError:
                pass

    def close(self) -> None:
        """Closes sockets first, and drops messages under way: the context's end waits for them."""
        self._ports.close()
        for socket in self._all():
            self._poll.unregister(socket.FD)
            socket.close(linger=0)
        self._pubs.clear()
        self._reqs.clear()
        self._zap = None
        self.topics.clear()
        self._context.term()


def _receive(socket: Any) -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)  # type: ignore[no-any-return]
    except zmq.Again:
        return None
