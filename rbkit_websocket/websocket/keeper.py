"""One greenlet an event loop that looks after all its sessions: pings, deadlines, the server's shutdown.

Under a server of threads each session has an event loop of its own, in its own thread.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable
from typing import Final

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub
from gevent.monkey import get_original

from ..system.clock import time
from .hubs import call_in
from .session import LEAVING_TIMEOUT, Session

__all__ = ["close_sessions", "let_go", "look_after", "session_count"]

log = logging.getLogger(__name__)

# SIGINT leaves a gunicorn worker 0.1 s (gunicorn/workers/base.py, handle_quit): look often enough for a close frame.
TICK: Final = 0.05

# Keepers of event loops with sessions. Other threads iterate over a copy, which is made in one go.
_keepers: dict[Hub, Keeper] = {}


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
                except Exception:  # a boundary: one session's failure must not end the others
                    log.exception("rbkit: looking after a session failed")
                    self.sessions.discard(session)


def _keeper() -> Keeper:
    hub = gevent.get_hub()
    keeper = _keepers.get(hub)
    if keeper is None or keeper.pid != os.getpid():
        # A hub outlives a fork of the application, its sessions do not.
        keeper = _keepers[hub] = Keeper()
    return keeper


def look_after(session: Session) -> None:
    """Puts ``session`` into the care of this event loop's keeper."""
    global _hooks
    if not _hooks:
        _hooks = True
        os.register_at_fork(after_in_child=_sever_all)
        atexit.register(_close_others)
    _keeper().add(session)


_hooks = False


def _sever_all() -> None:
    for keeper in _keepers.copy().values():
        for session in keeper.sessions.copy():
            try:
                session.sever()
            except OSError:
                pass  # out of descriptors, or the socket is closed: then there is no connection to take away


def let_go(session: Session) -> None:
    """Takes ``session`` out of the keeper's care."""
    hub = gevent.get_hub()
    keeper = _keepers.get(hub)
    if keeper is not None:
        keeper.discard(session)
        if not keeper.sessions and _keepers.get(hub) is keeper:
            del _keepers[hub]


def _sessions() -> list[tuple[Hub, Session]]:
    """All sessions of this process, each with its event loop."""
    mine = [(hub, keeper) for hub, keeper in _keepers.copy().items() if keeper.pid == os.getpid()]
    return [(hub, session) for hub, keeper in mine for session in keeper.sessions.copy()]


def session_count() -> int:
    """Sessions of this process, over all its event loops."""
    return len(_sessions())


def close_sessions(timeout: float = 1.0) -> None:
    """Closes every session of this process with 1001 and waits until they have ended.

    For servers that drop their connections when they are told to stop. Under gevent's pywsgi call it from a greenlet,
    in a handler set with ``gevent.signal_handler`` say, before the server stops; under a server of threads from any
    thread, a handler of ``signal.signal`` included.

    Args:
        timeout: seconds to wait at most; connections that are still there are shut down then.
    """
    _close(_sessions(), timeout)


def _close(sessions: list[tuple[Hub, Session]], timeout: float) -> None:
    here = get_hub_if_exists()
    for hub, session in sessions:
        call_in(hub, session.close, 1001, "the web server is going away", min(timeout, LEAVING_TIMEOUT))
    deadline = time.monotonic() + timeout
    for hub, session in sessions:
        if hub is here:
            session.ended.wait(max(0.0, deadline - time.monotonic()))
        else:
            _wait_for(session, deadline, gevent.sleep if here is not None else get_original("time", "sleep"))
        if not session.ended.is_set():
            call_in(hub, session.abort, "closed with the server")


def _wait_for(session: Session, deadline: float, sleep: Callable[[float], object]) -> None:
    """Waits in steps: a session of another thread cannot wake this one."""
    while not session.ended.is_set() and time.monotonic() < deadline:
        sleep(0.005)


def _close_others() -> None:
    """Closes sessions at Python's exit: in daemon threads they would just stop."""
    here = get_hub_if_exists()
    _close([(hub, session) for hub, session in _sessions() if hub is not here], 1.0)
