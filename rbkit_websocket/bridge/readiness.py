"""Waiting for descriptors in a gevent event loop."""

from __future__ import annotations

from typing import Any, Final

import gevent
from gevent.event import Event

__all__ = ["READ", "WRITE", "Readiness"]

READ: Final = 1
WRITE: Final = 2


class Readiness:
    """Waits for events on descriptors.

    ZeroMQ's descriptors are edge-triggered: look at EVENTS (or receive until EAGAIN) on every socket before each wait.

    Args:
        descriptors: open ones, which stay open until :meth:`close`.
    """

    def __init__(self, *descriptors: int) -> None:
        self._loop = gevent.get_hub().loop
        self._descriptors = descriptors
        self._event = Event()
        self._readers = [self._loop.io(descriptor, READ) for descriptor in descriptors]
        self._writers: list[Any] = []

    def wait(self, timeout: float | None = None, events: int = READ) -> None:
        """Waits until a descriptor, :meth:`notify` or the timeout (seconds) wakes it.

        Args:
            events: :data:`READ`, :data:`WRITE`, both, or 0: the descriptors have nothing more to say.
        """
        if events & WRITE and not self._writers:
            self._writers = [self._loop.io(descriptor, WRITE) for descriptor in self._descriptors]
        watchers = [*(self._readers if events & READ else ()), *(self._writers if events & WRITE else ())]
        for watcher in watchers:
            watcher.start(self._event.set)
        try:
            self._event.wait(timeout)
        finally:
            self._event.clear()
            for watcher in watchers:
                watcher.stop()

    def notify(self) -> None:
        """Ends a wait, or the next one."""
        self._event.set()

    def close(self) -> None:
        """Gives the watchers back to the loop; before the descriptors are closed, whose numbers are used again."""
        for watcher in (*self._readers, *self._writers):
            watcher.close()
        self._readers = self._writers = []
