"""Originals of functions that gevent patches, and a way into the application's own thread.

The one module of the server that knows gevent, and only if it is loaded already. Under monkey patching a "thread" is a
greenlet and a lock switches to the event loop: our native threads must touch neither, nor anything built on them
(``threading``, ``queue``, ``logging``). Calls on the application's side go through an ``async`` watcher, the one part
of an event loop that another thread may touch.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Final

from ..profilers.base import Host, QuietCollector
from ..profilers.greenlets.registry import EventLoop
from ..system.clock import time
from ..system.loaded import loaded
from ..system.unpatched import original

__all__ = ["AppThread", "make_host", "tell"]

_MAX_WAITING: Final = 1000
# A program may have a hub and never go back to it; without monkey patching our thread may then do the work itself.
_PATIENCE: Final = 1.0

logger = logging.getLogger("rbkit_websocket")


def _patched() -> bool:
    monkey = loaded("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _within_a_turn() -> bool:
    """Whether the loop runs this very code, in a greenlet of its own.

    The thread itself may run a program that has a loop and never goes back to it: the master of a web server that has
    imported the application for its workers.
    """
    return sys.modules["gevent"].getcurrent().parent is not None


def main_ident() -> int:
    """The real identity of the main thread, which under monkey patching ``threading`` no longer knows."""
    if sys.platform == "linux" and original("threading", "get_native_id")() == os.getpid():
        return int(original("_thread", "get_ident")())
    hub = loaded("gevent.hub")
    if hub is not None and _patched():
        return int(hub.MAIN_THREAD_IDENT)
    return threading.main_thread().ident or 0


class AppThread:
    """Calls functions in the application's own thread: in a greenlet of its hub.

    Made in a thread of the application. Without gevent (or without a hub in the calling thread and without monkey
    patching) there is no such thread to reach: :meth:`call` says so, and the caller runs the function itself.
    """

    def __init__(self) -> None:
        self._calls: deque[Callable[[], object]] = deque()
        self._ident: int = original("_thread", "get_ident")()
        self._watcher: Any = None
        self.loop: EventLoop | None = None
        self._send: Callable[[], object] | None = None
        self._draining = False
        self._since = 0.0
        self.dropped = 0
        local = loaded("gevent._hub_local")
        # A hub is made of all of gevent.
        if local is not None and loaded("gevent") is not None:
            self._connect(local)

    def _connect(self, local: Any) -> None:
        if _patched() and self._ident != main_ident():
            # A thread of gevent's pool, say: its hub, if any, runs no greenlets. Watchers of another thread's loop
            # cannot be made from here, but this can be called.
            if (hub := _main_hub()) is not None:
                self._send = partial(hub.loop.run_callback_threadsafe, self._awake)
                self.loop = EventLoop(hub.loop, hub.thread_ident)
            return
        hub = local.get_hub() if _patched() else local.get_hub_if_exists()
        if hub is not None:
            # Without a reference: a finished program's event loop must be able to end.
            self._watcher = hub.loop.async_(ref=False)
            self._watcher.start(self._awake)
            self._send = self._watcher.send
            self.loop = EventLoop(hub.loop, self._ident, _within_a_turn())

    @property
    def present(self) -> bool:
        """Whether there is a hub to call in."""
        return self._send is not None

    @property
    def behind(self) -> bool:
        """Whether the hub has not got to earlier calls yet: it may be blocked."""
        return bool(self._calls)

    @property
    def deadline(self) -> float | None:
        """The monotonic time when :meth:`rescue` is due; None when no call waits, or only the hub may make it."""
        return self._since + _PATIENCE if self._calls and not self._draining and not _patched() else None

    def rescue(self, now: float) -> None:
        """Makes the waiting calls of a hub that does not run, in the server's thread."""
        deadline = self.deadline
        if deadline is not None and now >= deadline:
            self._make_calls()

    def call(self, function: Callable[[], object]) -> bool:
        """Calls a function soon, in order, in the application's own thread; from any thread.

        Returns:
            False when there is no such thread, and nothing will be called. A call that finds 1000 others waiting
            (the event loop is blocked) is dropped and counted.
        """
        send = self._send
        if send is None:
            return False
        if len(self._calls) >= _MAX_WAITING:
            self.dropped += 1
            return True
        if not self._calls:
            self._since = time.monotonic()
        self._calls.append(function)
        try:
            send()
        except Exception:  # noqa: BLE001 - the loop has been destroyed under us; no call can reach it
            self._send = None
            return False
        return True

    def _awake(self) -> None:
        # In the hub, which must never block: the work goes to a greenlet.
        if not self._draining:
            self._draining = True
            sys.modules["gevent"].spawn(self._drain)

    def _drain(self) -> None:
        try:
            self._make_calls()
        finally:
            self._draining = False

    def _make_calls(self) -> None:
        while True:
            try:
                function = self._calls.popleft()
            except IndexError:
                return
            try:
                function()
            except Exception:
                logger.exception("rbkit: a callback failed")

    def log(self, level: int, text: str) -> None:
        """Logs a line (or several) to ``rbkit_websocket`` from a native thread."""
        try:
            if self.call(lambda: logger.log(level, "%s", text)):
                return
            if _patched():
                # Logging cannot be reached safely: the line goes to stderr.
                os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))
                return
            # Logging asks for the current thread, and threading would keep a lasting record of ours.
            threading.Thread(target=logger.log, args=(level, "%s", text), daemon=True, name="rbkit-log").start()
        except (RuntimeError, OSError):
            pass  # the interpreter is ending, or stderr is closed

    def close(self) -> None:
        """Ends it; waiting calls are still made. A watcher belongs to its thread: elsewhere it is only forgotten."""
        watcher, self._watcher = self._watcher, None
        self._send = self.loop = None
        if self._calls and watcher is not None:
            self._awake()  # spawns, and so never switches: the caller may hold a lock
        if watcher is not None and original("_thread", "get_ident")() == self._ident:
            watcher.stop()
            watcher.close()


def tell(text: str) -> None:
    """Writes lines to stderr from a native thread, unless its reader is behind: it must not stop the thread."""
    # A ready pipe takes at least 4096 bytes.
    data = f"{text}\n".encode("utf-8", "backslashreplace")[:4096]
    try:
        poll = original("select", "poll")()
        poll.register(2, select.POLLOUT)
        if poll.poll(0):
            os.write(2, data)
    except (OSError, AttributeError):
        pass  # stderr is closed


def _main_hub() -> Any:
    """The main thread's hub, found from another thread; gevent does not tell it there."""
    import gc

    hub_module = sys.modules["gevent.hub"]
    for obj in gc.get_objects():
        if issubclass(type(obj), hub_module.Hub) and obj.thread_ident == hub_module.MAIN_THREAD_IDENT:
            return obj
    return None


def make_host(app: AppThread) -> Host:
    """The process as our native threads may touch it."""

    def release(objects: list[Any]) -> None:
        if not app.call(objects.clear):
            objects.clear()

    return Host(
        start_new_thread=original("_thread", "start_new_thread"),
        allocate_lock=original("_thread", "allocate_lock"),
        get_ident=original("_thread", "get_ident"),
        main_ident=main_ident(),
        release=release,
        call=app.call,
        behind=lambda: app.behind,
        quiet=QuietCollector if app.present else nullcontext,
    )
