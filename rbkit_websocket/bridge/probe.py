"""Asks many Rbkit servers at once for their status, each with the same short deadline."""

from __future__ import annotations

import math
import select
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import zmq

from ..errors import NoRoom, ProtocolError
from ..protocol.messages import decode_answer
from ..system.clock import time
from ..transport.curve import ClientKeys
from .hoard import Flooded
from .readiness import Readiness
from .wires import Wire, command_wire

__all__ = ["Status", "ask_status"]

_COMMAND: Final = b"status"
_AT_ONCE: Final = 64
_MOST: Final = 64 * 1024  # bytes of an answer, which is a few figures


@dataclass
class Status:
    """A server's status.

    Attributes:
        reachable: a ZeroMQ server is there, if only its transport: it may be busy with a snapshot, or stuck for good.
        answered: it has answered.
        refusal: why its side refused the link; None when it did not.
        facts: the answer to ``status``; empty when none came in time, or from a server that does not know the command.
    """

    reachable: bool = False
    answered: bool = False
    refusal: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def number(self, key: str) -> int | float | None:
        """A number of the answer; None when it has none, or one that JSON cannot express (NaN, infinities)."""
        value = self.facts.get(key)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return value if is_number else None

    def text(self, key: str) -> str | None:
        """A text of the answer, cut to 200 characters; None when it has none."""
        value = self.facts.get(key)
        return value[:200] if isinstance(value, str) else None


class _Question:
    """One server that is asked."""

    def __init__(self, endpoint: str, keys: ClientKeys | None) -> None:
        self.status = Status()
        self.done = False
        self._asked = False
        self._wire: Wire | None = None
        try:
            self._wire = command_wire(endpoint, keys, _MOST)
        except NoRoom as error:
            self._give_up(f"cannot be asked: {error}")
        except (OSError, zmq.ZMQError) as error:  # out of descriptors, or no endpoint
            self._give_up(f"cannot be asked: {error.strerror}")

    def _give_up(self, refusal: str | None) -> None:
        self.done = True
        self.status.refusal = refusal

    @property
    def descriptors(self) -> Sequence[int]:
        """The descriptors to wait for."""
        return () if self._wire is None or not self._wire.events else self._wire.descriptors

    def look(self) -> None:
        """Reads news; the descriptors are quiet afterwards and may be waited for."""
        wire = self._wire
        if wire is None:
            return
        try:
            wire.look()  # when done as well: libzmq tries again and again, and unread news end each wait
        except Flooded as flooded:
            self._give_up(str(flooded))
            wire.close()
            self._wire = None
        if self.done:
            return
        if wire.up and not self._asked:
            self._asked = self.status.reachable = True
            wire.send(_COMMAND)
        answer = wire.receive() if self._asked else None
        if answer is None:
            if wire.unreachable:
                self._give_up(wire.refusal)
            return
        self.done = self.status.answered = True
        try:
            facts = decode_answer(answer)
        except ProtocolError:
            return
        if isinstance(facts, dict):
            self.status.facts = facts

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()


def ask_status(servers: Sequence[tuple[str, ClientKeys | None]], timeout: float) -> list[Status]:
    """The status of each server, given by its REQ endpoint and keys, in the same order, within ``timeout`` seconds.

    Greenlets run meanwhile where this thread has an event loop, threads in any case. Not more than 64 servers are asked
    at once, since each takes descriptors that the application may need.
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
    while True:
        for question in questions:
            question.look()
        remaining = deadline - time.monotonic()
        if remaining <= 0 or all(question.done for question in questions):
            return
        _wait([descriptor for question in questions for descriptor in question.descriptors], remaining)


def _wait(descriptors: Sequence[int], timeout: float) -> None:
    """Waits until one is readable: greenlets go on where this thread has an event loop, other threads in any case."""
    if _has_hub():
        readiness = Readiness(*descriptors)
        try:
            readiness.wait(timeout)
        finally:
            readiness.close()
        return
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    poll.poll(max(1, int(timeout * 1000)))


def _has_hub() -> bool:
    from gevent import monkey
    from gevent._hub_local import get_hub_if_exists

    return monkey.is_module_patched("threading") or get_hub_if_exists() is not None
