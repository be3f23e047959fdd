"""The server's sockets: XPUB for events, ROUTER for commands, and a pipe that wakes whoever waits for them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import zmq

from ..clock import time
from ..curve import ServerKeys

__all__ = ["Channels", "Envelope"]

# Messages that may wait for one slow subscriber. A heap message is about 100 KiB, so a subscriber that stalls in the
# middle of a snapshot costs some 50 MiB at the most; at snapshot_rate it may fall behind by seconds and lose nothing.
HIGH_WATER: Final = 500
# Commands are short words; what is longer is not for us.
_MAX_COMMAND: Final = 64 * 1024
_COMMANDS_A_TURN: Final = 50


_ZAP: Final = "inproc://zeromq.zap.01"  # ZeroMQ RFC 27
_DOMAIN: Final = b"rbkit"
# Seconds between two words about clients that were refused: whoever tries often must not fill a log.
_SAY_AGAIN: Final = 10.0


class Envelope:
    """Where the answer to a command goes."""

    __slots__ = ("frames", "socket")

    def __init__(self, socket: Any, frames: list[bytes]) -> None:
        self.socket = socket
        self.frames = frames

    @property
    def client(self) -> str:
        """What stands for the connection that the command came through."""
        return f"{id(self.socket)} {self.frames[0].hex()}"


class Channels:
    """Made and bound by whoever starts the server, then used by the server's thread alone, but for :meth:`wake`.

    With keys, TCP endpoints are those of sockets of their own that speak CURVE alone, beside those for ipc.

    Args:
        allocate_lock: the original ``_thread.allocate_lock``.
        keys: the server's CURVE keys; None: TCP endpoints are open.
        refused: gets the address of a client whose key is not authorized.

    Raises:
        zmq.ZMQError, OSError: no context or pipe can be had.
    """

    def __init__(
        self,
        allocate_lock: Callable[[], Any],
        keys: ServerKeys | None = None,
        refused: Callable[[str], None] = lambda _address: None,
    ) -> None:
        self._lock = allocate_lock()
        self._keys = keys
        self._refused = refused
        self._silent_until = 0.0
        self._context: Any = zmq.Context()
        self._poller = zmq.Poller()
        # By whether they are guarded by CURVE.
        self._pubs: dict[bool, Any] = {}
        self._reqs: dict[bool, Any] = {}
        self._zap: Any = None
        self.topics: set[tuple[bool, bytes]] = set()
        self._pipe: tuple[int, int] | None = None
        try:
            self._pipe = os.pipe()
        except OSError:
            self._context.term()
            raise
        for descriptor in self._pipe:
            os.set_blocking(descriptor, False)
        self._poller.register(self._pipe[0], zmq.POLLIN)

    def bind(self, pub: Sequence[str], req: Sequence[str]) -> None:
        """Binds endpoints, more of them any time.

        Raises:
            zmq.ZMQError: one of them cannot be bound; those before it are.
        """
        for endpoint in pub:
            guarded = self._guarded(endpoint)
            if guarded not in self._pubs:
                # XPUB, because it tells who subscribes and who leaves.
                self._pubs[guarded] = self._socket(zmq.XPUB, guarded)
                self._pubs[guarded].sndhwm = HIGH_WATER
                # Of what comes in: libzmq holds it in memory before a client has shown any key.
                self._pubs[guarded].maxmsgsize = _MAX_COMMAND
            self._bind(self._pubs[guarded], endpoint)
        for endpoint in req:
            guarded = self._guarded(endpoint)
            if guarded not in self._reqs:
                self._reqs[guarded] = self._socket(zmq.ROUTER, guarded)
                self._reqs[guarded].maxmsgsize = _MAX_COMMAND
            self._bind(self._reqs[guarded], endpoint)

    def _guarded(self, endpoint: str) -> bool:
        return self._keys is not None and endpoint.startswith("tcp://")

    def _bind(self, socket: Any, endpoint: str) -> None:
        socket.ipv6 = "[" in endpoint
        socket.bind(endpoint)

    def _socket(self, kind: int, guarded: bool = False) -> Any:
        if guarded and self._zap is None:
            # Before anything asks it: without a handler libzmq lets everybody in who knows the server's public key.
            self._zap = self._socket(zmq.REP)
            self._zap.bind(_ZAP)
        socket = self._context.socket(kind)
        socket.linger = 0
        if guarded and self._keys is not None:
            self._keys.apply(socket, _DOMAIN)
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def wait(self, seconds: float | None) -> None:
        """Returns when something has come in, somebody called :meth:`wake`, or the time is over (None: never)."""
        ready = dict(self._poller.poll(None if seconds is None else max(0, math.ceil(seconds * 1000))))
        if self._pipe is not None and self._pipe[0] in ready:
            try:
                os.read(self._pipe[0], 4096)
            except OSError:
                pass
        if self._zap is not None and self._zap in ready:
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
                self._refused(address.decode("ascii", "replace"))

    @staticmethod
    def _is_authorized(keys: ServerKeys, key: bytes) -> bool:
        try:
            return keys.is_authorized(key)
        except Exception:  # noqa: BLE001 - without an answer libzmq's question would be the last one
            return False

    def wake(self) -> None:
        """Ends a :meth:`wait`, now or the next one; from any thread."""
        # The lock keeps close() from giving the descriptor's number to somebody else in between. It is never held
        # across anything that waits.
        with self._lock:
            if self._pipe is not None:
                try:
                    os.write(self._pipe[1], b"\0")
                except OSError:
                    pass  # full: it is awake already

    def subscriptions(self) -> bool:
        """Reads who has come and gone into ``topics``; True when the last subscriber has left."""
        had = bool(self.topics)
        for guarded, socket in self._pubs.items():
            while (message := _receive(socket)) is not None:
                if message[0][:1] == b"\x01":
                    self.topics.add((guarded, message[0][1:]))
                elif message[0][:1] == b"\x00":
                    self.topics.discard((guarded, message[0][1:]))
        return had and not self.topics

    def commands(self) -> Iterator[tuple[str, Envelope]]:
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
                yield body.decode("utf-8", "replace"), Envelope(socket, frames[:end])

    def answer(self, envelope: Envelope, message: bytes) -> None:
        """Answers a command; a client that has gone gets nothing."""
        try:
            envelope.socket.send_multipart([*envelope.frames, message], zmq.NOBLOCK)
        except zmq.ZMQError:
            pass

    def publish(self, message: bytes) -> None:
        """Sends to all subscribers; whoever is more than the high-water mark behind loses it."""
        for guarded in {guarded for guarded, _ in self.topics}:
            try:
                self._pubs[guarded].send(message, zmq.NOBLOCK)
            except zmq.ZMQError:
                pass

    def close(self) -> None:
        """Sockets first, dropping what is under way: the context's end waits for them. Not for :meth:`wake`'s pipe."""
        # The ZAP handler last: those that ask it are gone then.
        for socket in (*self._pubs.values(), *self._reqs.values(), self._zap):
            if socket is not None:
                self._poller.unregister(socket)
                socket.close(linger=0)
        self._pubs.clear()
        self._reqs.clear()
        self._zap = None
        self.topics.clear()
        if self._context is not None:
            self._context.term()
            self._context = None

    def close_pipe(self) -> None:
        """Last of all; :meth:`wake` then does nothing."""
        with self._lock:
            pipe, self._pipe = self._pipe, None
            for descriptor in pipe or ():
                os.close(descriptor)

    def after_in_child(self, allocate_lock: Callable[[], Any]) -> None:
        """In a forked child: closes the pipe and leaves everything of ZeroMQ untouched. The lock may be held by a
        thread that is not here."""
        self._lock = allocate_lock()
        self.close_pipe()


def _receive(socket: Any) -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)  # type: ignore[no-any-return]
    except zmq.Again:
        return None
