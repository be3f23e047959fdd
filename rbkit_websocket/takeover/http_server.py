"""Servers made of Python's ``http.server``: werkzeug (``flask run``), Django's ``runserver``, threaded ``wsgiref``.

There is a thread for each connection, so a session takes none away from the application. A server without threads has
only the one that accepts: a session would stop it, and is refused.

These servers treat a 101 by ``start_response`` differently (wsgiref forbids its headers, werkzeug adds another
``Connection``), so the 101 is sent to the socket. Once the connection is shut down they are told of the 101, and their
attempt to send it again ends at the closed socket, which each takes for a client that has left (wsgiref/handlers.py,
run; werkzeug/serving.py, run_wsgi).
"""

from __future__ import annotations

import socketserver
from collections.abc import Callable
from typing import Any

from .base import StartResponse
from .serving import HttpServerRequest, find_serving
from .threaded import ThreadTakeover, read_ahead

__all__ = ["HttpServer"]

_NO_THREADS = (
    "this server has one thread for everything, which a session would keep from the application. Run it with threads: "
    "flask run --with-threads, manage.py runserver without --nothreading, wsgiref with "
    "class Server(socketserver.ThreadingMixIn, WSGIServer): daemon_threads = True"
)


class HttpServer(ThreadTakeover):
    """Takes the connection of a ``BaseHTTPRequestHandler``."""

    name = "flask run, manage.py runserver, wsgiref with a ThreadingMixIn"

    def __init__(self, handler: Any) -> None:
        super().__init__(handler.connection)
        self._handler = handler
        self._start_response: StartResponse | None = None

    @classmethod
    def claim(cls, environ: dict[str, Any]) -> HttpServer | None:
        serving = find_serving()
        if not isinstance(serving, HttpServerRequest) or not serving.is_of(environ):
            return None
        return cls(serving.held) if hasattr(serving.held, "connection") else None

    def refusal(self) -> str | None:
        if not isinstance(getattr(self._handler, "server", None), socketserver.ThreadingMixIn):
            return _NO_THREADS
        return super().refusal()

    def _stopping(self) -> Callable[[], bool]:
        server = self._handler.server
        # server_close() closes the listening socket, and then waits for threads that are no daemons.
        return lambda: server.socket.fileno() < 0

    def _send_101(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        self._start_response = start_response
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.sock.sendall(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode("latin-1"))

    def _read_ahead(self) -> bytes:
        return read_ahead(self._handler.rfile, self._server_sock)

    def finish(self) -> None:
        self._handler.close_connection = True  # no next request
        super().finish()
        if self._start_response is not None:
            self._start_response("101 Switching Protocols", [])
