"""Turns of our greenlets among all others of an event loop.

``gevent.sleep(0)`` gives sockets no turn: gevent runs up to 50 such callbacks before it looks at one, so that a
greenlet which works for some milliseconds between two of them holds the application up for a quarter of a second.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import gevent
from gevent.hub import Hub, Waiter

from ..system.clock import time

__all__ = ["TURN", "Turn", "give_way"]

TURN: Final = 0.001
"""Seconds that one of our greenlets works before it gives way."""

_queues: dict[Hub, _Queue] = {}


class _Queue:
    """Greenlets of one event loop that have given way. Each time it has looked at all its sockets, one goes on.

    One, not all: our greenlets' share of a loop's turn does not depend on their number.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._waiting: deque[Waiter[None]] = deque()
        # Sent to from its own thread it costs no system call, and keeps the loop from waiting when it looks.
        self._signal: Any = hub.loop.async_()
        self._signal.start(self._next)

    def wait(self) -> None:
        waiter: Waiter[None] = Waiter(self._hub)
        self._waiting.append(waiter)
        self._signal.send()
        try:
            waiter.get()
        finally:
            if waiter in self._waiting:  # killed
                self._waiting.remove(waiter)
                if not self._waiting:
                    self._end()

    def _next(self) -> None:
        waiter = self._waiting.popleft() if self._waiting else None
        if self._waiting:
            self._signal.send()
        else:
            self._end()  # before the switch, which may be the last of this event loop
        if waiter is not None:
            waiter.switch(None)

    def _end(self) -> None:
        """Ends when no greenlet waits, since a thread's event loop may be given back any time."""
        if _queues.get(self._hub) is self:
            del _queues[self._hub]
            self._signal.stop()
            self._signal.close()


def give_way() -> None:
    """Lets the event loop look at all sockets and waiting greenlets before this greenlet goes on."""
    hub = gevent.get_hub()
    queue = _queues.get(hub)
    if queue is None:
        queue = _queues[hub] = _Queue(hub)
    queue.wait()


class Turn:
    """The time that a busy greenlet has had of its event loop since it last gave way."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begins anew: the greenlet has waited."""
        self._end = time.monotonic() + TURN

    def check(self) -> None:
        """Gives way if the turn is over."""
        if time.monotonic() >= self._end:
            give_way()
            self.renew()
