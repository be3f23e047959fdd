"""One greenlet an event loop that looks after all its sessions: pings, deadlines, the server's shutdown."""

from __future__ import annotations

import logging
import os
import time
from typing import Final
from weakref import WeakKeyDictionary

import gevent
from gevent.hub import Hub

from .session import LEAVING_TIMEOUT, Session

__all__ = ["close_sessions", "keep", "release", "session_count"]

log = logging.getLogger(__name__)

# SIGINT leaves a gunicorn worker 0.1 s (gunicorn/workers/base.py, handle_quit): look often enough to say goodbye.
TICK: Final = 0.05

_keepers: WeakKeyDictionary[Hub, Keeper] = WeakKeyDictionary()


class Keeper:
    """Calls ``tick`` of its sessions while there are any."""

    def __init__(self) -> None:
        self.sessions: set[Session] = set()
        self.pid = os.getpid()
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def add(self, session: Session) -> None:
        """Looks after ``session`` from now on."""
        self.sessions.add(session)
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)

    def discard(self, session: Session) -> None:
        """Forgets ``session``; the greenlet of the last one ends before this returns."""
        self.sessions.discard(session)
        if not self.sessions and self._greenlet is not None:
            greenlet, self._greenlet = self._greenlet, None
            greenlet.kill()

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            gevent.sleep(TICK)
            if os.getpid() != self.pid:
                return  # a fork of the application: the sessions are the parent's
            now = time.monotonic()
            lag = max(0.0, now - last - 2 * TICK)
            last = now
            for session in tuple(self.sessions):
                try:
                    session.tick(now, lag)
                except Exception:  # a boundary: one session's trouble is not the others'
                    log.exception("rbkit: looking after a session failed")
                    self.sessions.discard(session)


def _keeper() -> Keeper:
    hub = gevent.get_hub()
    keeper = _keepers.get(hub)
    if keeper is None or keeper.pid != os.getpid():
        # A hub outlives a fork of the application, its sessions do not.
        keeper = _keepers[hub] = Keeper()
    return keeper


def keep(session: Session) -> None:
    """Puts ``session`` into the care of this event loop's keeper."""
    global _fork_hook
    if not _fork_hook:
        os.register_at_fork(after_in_child=_sever_all)
        _fork_hook = True
    _keeper().add(session)


_fork_hook = False


def _sever_all() -> None:
    for keeper in tuple(_keepers.values()):
        for session in keeper.sessions:
            try:
                session.sever()
            except OSError:
                pass  # out of descriptors, or the socket is closed: then there is nothing to take away


def release(session: Session) -> None:
    """Takes ``session`` out of it."""
    _keeper().discard(session)


def session_count() -> int:
    """Sessions of this process, over all its event loops."""
    return sum(len(keeper.sessions) for keeper in tuple(_keepers.values()) if keeper.pid == os.getpid())


def close_sessions(timeout: float = 1.0) -> None:
    """Closes every session of this event loop with 1001 and waits until they have ended.

    For servers that drop their connections when they are told to stop (gevent.pywsgi outside gunicorn): call it from
    a greenlet, in a handler set with ``gevent.signal_handler`` say, before the server stops.

    Args:
        timeout: seconds to wait at most; connections that are still there are shut down then.
    """
    sessions = tuple(_keeper().sessions)
    for session in sessions:
        session.close(1001, "the web server is going away", min(timeout, LEAVING_TIMEOUT))
    deadline = time.monotonic() + timeout
    for session in sessions:
        if not session.ended.wait(max(0.0, deadline - time.monotonic())):
            session.abort("closed with the server")
