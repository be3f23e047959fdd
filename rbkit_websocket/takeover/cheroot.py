"""cheroot (CherryPy's server): a pool of threads, each with one connection at a time.

The thread of a request knows its connection and its server (cheroot/workers/threadpool.py, WorkerThread). The pool
never grows by itself, so sessions may have all of its threads but one. ``server.ready`` is False as soon as ``stop()``
has been called, which then waits ``shutdown_timeout`` seconds for its threads.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from .threaded import ThreadTakeover, read_ahead

__all__ = ["Cheroot"]


class Cheroot(ThreadTakeover):
    """Takes the connection of a cheroot worker thread; the 101 goes through its ``write``."""

    name = "cheroot"
    more_threads = "numthreads=2 at least, a session each"

    def __init__(self, connection: Any, server: Any) -> None:
        super().__init__(connection.socket)
        self._rfile = connection.rfile
        self._server = server
        self.threads = len(server.requests._threads) or server.requests.min

    @classmethod
    def claim(cls, environ: dict[str, Any]) -> Cheroot | None:
        module = sys.modules.get("cheroot.workers.threadpool")
        thread = threading.current_thread()
        if module is None or not isinstance(thread, module.WorkerThread):
            return None
        connection = getattr(thread, "conn", None)
        # The environ is this connection's, not that of a request which the application makes to another application.
        if connection is None or getattr(environ.get("wsgi.input"), "rfile", None) is not connection.rfile:
            return None
        return cls(connection, thread.server)

    def _stopping(self) -> Callable[[], bool]:
        return lambda: not self._server.ready

    def _read_ahead(self) -> bytes:
        return read_ahead(self._rfile, self._server_sock)
