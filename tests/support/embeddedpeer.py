"""A client of an embedded server, over its Unix socket or over plain ZeroMQ, with nothing of the package's own."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
import zmq

from rbkit_websocket.profilers.cpu.aggregate import CpuProfiler

from .waiting import scaled, wait_until


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False, strict_map_key=False, unicode_errors="surrogateescape")


def profile_of(profiler: CpuProfiler, cursor: int | None = None) -> dict[str, Any]:
    """What a client reads of the answer to ``cpu_profile``."""
    answer = unpack(profiler.profile(cursor))
    assert isinstance(answer, dict)
    return answer


class _LocalSocket:
    """What the tests use of a ZeroMQ socket, at a server's Unix socket: each message behind its length in 4 bytes."""

    def __init__(self, path: str, purpose: bytes, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(scaled(10))
        self._socket.connect(path)
        self._buffer = bytearray()
        self.send(purpose)
        assert self.recv() == b"ok"
        self._socket.settimeout(timeout)

    def send(self, message: bytes) -> None:
        self._socket.sendall(struct.pack(">I", len(message)) + message)

    def recv(self) -> bytes:
        """The next message; zmq.Again when none comes in time."""
        while len(self._buffer) < 4 or len(self._buffer) < (end := 4 + struct.unpack_from(">I", self._buffer)[0]):
            try:
                data = self._socket.recv(1 << 20)
            except TimeoutError as error:
                raise zmq.Again from error
            if not data:
                raise ConnectionError("the server has hung up")
            self._buffer += data
        message = bytes(self._buffer[4:end])
        del self._buffer[:end]
        return message

    def close(self) -> None:
        self._socket.close()


def is_local(endpoint: str | None) -> bool:
    return endpoint is not None and endpoint.startswith("unix://")


class Peer:
    """Asks and listens. A context manager."""

    def __init__(self, pub: str | None, req: str | None, correlated: bool = False) -> None:
        self._context = zmq.Context()
        self._pub = pub
        self.sub: Any = None
        self.req: Any
        if req is not None and is_local(req):
            self.req = _LocalSocket(req.removeprefix("unix://"), b"commands", scaled(10))
            return
        self.req = self._context.socket(zmq.REQ)
        self.req.linger = 0
        self.req.rcvtimeo = int(scaled(10) * 1000)
        if correlated:
            self.req.req_relaxed = 1
            self.req.req_correlate = 1
        if req is not None:
            self.req.connect(req)

    @classmethod
    def at(cls, endpoint: str) -> Peer:
        """Of an embedded server that does both at one endpoint."""
        return cls(endpoint, endpoint)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.unsubscribe()
        self.req.close()
        self._context.term()

    def ask(self, command: str | bytes) -> bytes:
        self.req.send(command if isinstance(command, bytes) else command.encode())
        return self.req.recv()

    def map(self, command: str) -> dict[Any, Any]:
        answer = unpack(self.ask(command))
        assert isinstance(answer, dict)
        return answer

    def handshake(self) -> dict[str, Any]:
        return self.map("handshake")[2]

    def subscribe(self) -> Peer:
        if self._pub is not None and is_local(self._pub):
            self.sub = _LocalSocket(self._pub.removeprefix("unix://"), b"publications", 0.02)
            return self
        self.sub = self._context.socket(zmq.SUB)
        self.sub.linger = 0
        self.sub.rcvtimeo = 20
        # A snapshot of a large test process is more messages than libzmq keeps for who does not read yet.
        self.sub.rcvhwm = 0
        self.sub.subscribe(b"")
        self.sub.connect(self._pub)
        return self

    def unsubscribe(self) -> None:
        if self.sub is not None:
            self.sub.close()
            self.sub = None

    def messages(self, timeout: float = 10.0) -> Iterator[dict[int, Any]]:
        """Decoded publications; fails when none comes for the time given."""
        deadline = time.monotonic() + scaled(timeout)
        while True:
            try:
                yield unpack(self.sub.recv())
            except zmq.Again:
                assert time.monotonic() < deadline, f"no publication within {timeout} s"
                continue
            deadline = time.monotonic() + scaled(timeout)

    def event(self, wanted: Callable[[dict[int, Any]], bool], timeout: float = 10.0) -> dict[int, Any]:
        """The first published event that is wanted."""
        deadline = time.monotonic() + scaled(timeout)
        for message in self.messages(timeout):
            for event in message[2]:
                if wanted(event):
                    return event
            assert time.monotonic() < deadline, "the event wanted did not come"
        raise AssertionError("unreachable")

    def quiet(self, seconds: float) -> list[dict[int, Any]]:
        """What is published within the time."""
        found = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                found.append(unpack(self.sub.recv()))
            except zmq.Again:
                pass
        return found


@pytest.fixture
def subscriber(server: Any, peer: Peer) -> Peer:
    """The peer of a test module's own server, subscribed."""
    peer.subscribe()
    wait_until(server.audience, "the subscription")
    return peer
