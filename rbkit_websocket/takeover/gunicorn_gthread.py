"""gunicorn -k gthread (``--threads`` turns the sync worker into it): a thread for each request in progress.

``gunicorn.socket`` is the connection, as with the gevent worker, and gunicorn's parser has read ahead. A session keeps
its thread, so sessions may have all but one of them. ``worker.alive`` is False as soon as the worker is to stop
(gunicorn/workers/gthread.py, handle_exit).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..system.loaded import loaded
from .base import gunicorn_worker
from .gunicorn_gevent import pipelined
from .threaded import ThreadTakeover

__all__ = ["GunicornGthread"]


class GunicornGthread(ThreadTakeover):
    """Takes ``gunicorn.socket``; the 101 goes through gunicorn's response."""

    name = "gunicorn -k gthread --threads 2 (and more)"
    more_threads = "--threads 2 at least, a session each: gunicorn -k gthread --threads 8"

    def __init__(self, sock: Any, threads: int, read_ahead: Callable[[], bytes]) -> None:
        super().__init__(sock)
        self.threads = threads
        self._take_pipelined = read_ahead

    @classmethod
    def claim(cls, environ: dict[str, Any]) -> GunicornGthread | None:
        sock, module = environ.get("gunicorn.socket"), loaded("gunicorn.workers.gthread")
        # HTTP/2 sets the key to a socket that many streams share.
        if sock is None or module is None or not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1."):
            return None
        worker, take_pipelined = gunicorn_worker(), pipelined(environ)
        if not isinstance(worker, module.ThreadWorker) or take_pipelined is None:
            return None
        return cls(sock, worker.cfg.threads, take_pipelined)

    def _read_ahead(self) -> bytes:
        return self._take_pipelined()
