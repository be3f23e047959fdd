"""cheroot (CherryPy's server): a pool of threads, each with one connection at a time.

A request knows its connection and its server (cheroot/server.py, HTTPRequest). The pool never grows by itself, so
sessions may have all of its threads but one. ``server.ready`` is False as soon as ``stop()``
has been called, which then waits ``shutdown_timeout`` seconds for its threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .serving import CherootRequest, find_serving
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
        serving = find_serving()
        if not isinstance(serving, CherootRequest) or not serving.is_of(environ):
            return None
        return cls(serving.held.conn, serving.held.server)

    def _stopping(self) -> Callable[[], bool]:
        return lambda: not self._server.ready

    def _read_ahead(self) -> bytes:
        return read_ahead(self._rfile, self._server_sock)
