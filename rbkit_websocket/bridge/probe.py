"""Asks many Rbkit servers at once how they are, each with the same short deadline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import zmq

from ..clock import time
from ..curve import ClientKeys
from ..errors import ProtocolError
from ..protocol.messages import decode_answer
from .context import Link, Readiness, bridge_socket

__all__ = ["Status", "ask_status"]

_COMMAND: Final = b"status"
_AT_ONCE: Final = 64


@dataclass
class Status:
    """What a server says of itself.

    Attributes:
        reachable: a ZeroMQ server is there, if only its transport: it may be busy with a snapshot, or stuck for good.
        answered: it has answered.
        problem: why its side refused the link; None when it did not.
        facts: the answer to ``status``; empty when none came in time, or from a server that does not know the command.
    """

    reachable: bool = False
    answered: bool = False
    problem: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def number(self, key: str) -> int | float | None:
        """A number of the answer; None when it has no such, or one that JSON cannot say (NaN, the infinities)."""
        value = self.facts.get(key)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return value if is_number else None

    def text(self, key: str) -> str | None:
        """A text of the answer, cut to 200 characters; None when it has no such."""
        value = self.facts.get(key)
        return value[:200] if isinstance(value, str) else None


class _Question:
    """One server that is asked."""

    def __init__(self, endpoint: str, keys: ClientKeys | None) -> None:
        self.status = Status()
        self.done = False
        self.socket: zmq.Socket[bytes] | None = None
        self.link: Link | None = None
        try:
            self.socket = bridge_socket(zmq.REQ, endpoint, keys)
            self.link = Link(self.socket, endpoint, keys)
            self.socket.connect(endpoint)
            # Queued until the server is there: a REQ without peer takes one message and no more.
            self.socket.send(_COMMAND, zmq.NOBLOCK)
        except zmq.ZMQError as error:  # out of descriptors, or no endpoint
            self.done = True
            self.status.problem = f"cannot be asked: {error.strerror}"

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        return [] if self.socket is None or self.link is None else [self.socket, self.link.monitor]

    def look(self) -> None:
        """Takes in what has come; both sockets are quiet afterwards and may be waited for."""
        if self.socket is None or self.link is None:
            return
        self.link.look()  # when done as well: libzmq tries again and again, and news that nobody reads end each wait
        if self.done:
            return
        self.status.reachable = self.status.reachable or self.link.up
        try:
            answer = decode_answer(self.socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            self.done = self.link.refused
            self.status.problem = self.link.problem
        except ProtocolError:
            self.done = self.status.reachable = self.status.answered = True
        else:
            self.done = self.status.reachable = self.status.answered = True
            if isinstance(answer, dict):
                self.status.facts = answer

    def close(self) -> None:
        if self.link is not None:
            self.link.close()
        if self.socket is not None:
            self.socket.close(0)


def ask_status(servers: Sequence[tuple[str, ClientKeys | None]], timeout: float) -> list[Status]:
    """The status of each server, given by its REQ endpoint and keys, in the same order, within ``timeout`` seconds.

    Others run meanwhile: greenlets where this thread has an event loop, threads in any case. Not more than 64 are asked
    at once, since each takes descriptors that others may need more.
    """
    deadline = time.monotonic() + timeout
    groups = (servers[first : first + _AT_ONCE] for first in range(0, len(servers), _AT_ONCE))
    return [status for group in groups for status in _ask(group, deadline)]


def _ask(servers: Sequence[tuple[str, ClientKeys | None]], deadline: float) -> list[Status]:
    questions: list[_Question] = []
    try:
        questions.extend(_Question(endpoint, keys) for endpoint, keys in servers)
        _await(questions, deadline)
        return [question.status for question in questions]
    finally:
        for question in questions:
            question.close()


def _await(questions: Sequence[_Question], deadline: float) -> None:
    sockets = [socket for question in questions for socket in question.sockets]
    waiter = Readiness(*sockets) if _has_hub() else _Poll(sockets)
    try:
        while True:
            for question in questions:
                question.look()
            remaining = deadline - time.monotonic()
            if remaining <= 0 or all(question.done for question in questions):
                return
            waiter.wait(remaining)
    finally:
        waiter.close()


class _Poll:
    """What :class:`Readiness` does, for threads without an event loop."""

    def __init__(self, sockets: Sequence[zmq.Socket[bytes]]) -> None:
        self._poller = zmq.Poller()
        for socket in sockets:
            self._poller.register(socket, zmq.POLLIN)

    def wait(self, timeout: float) -> None:
        self._poller.poll(max(1, int(timeout * 1000)))

    def close(self) -> None:
        """Nothing to give back."""


def _has_hub() -> bool:
    from gevent import monkey
    from gevent._hub_local import get_hub_if_exists

    return monkey.is_module_patched("threading") or get_hub_if_exists() is not None
