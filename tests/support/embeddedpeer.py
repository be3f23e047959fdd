"""A client of an embedded server over plain ZeroMQ: one REQ, one SUB, nothing of the package but its codec."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
import zmq

from rbkit_websocket.profilers.aggregate import CpuProfiler

from .waiting import scaled, wait_until


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False, strict_map_key=False, unicode_errors="surrogateescape")


def profile_of(profiler: CpuProfiler, cursor: int | None = None) -> dict[str, Any]:
    """What a client reads of the answer to ``cpu_profile``."""
    answer = unpack(profiler.profile(cursor))
    assert isinstance(answer, dict)
    return answer


class Peer:
    """Asks and listens. A context manager."""

    def __init__(self, pub: str | None, req: str | None, correlated: bool = False) -> None:
        self._context = zmq.Context()
        self.req = self._context.socket(zmq.REQ)
        self.req.linger = 0
        self.req.rcvtimeo = int(scaled(10) * 1000)
        if correlated:
            self.req.req_relaxed = 1
            self.req.req_correlate = 1
        if req is not None:
            self.req.connect(req)
        self._pub = pub
        self.sub: Any = None

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
