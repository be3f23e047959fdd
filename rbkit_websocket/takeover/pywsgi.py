"""gevent.pywsgi.WSGIServer as it is, without a WebSocket handler.

For an upgrade request pywsgi gives the connection's buffered file as ``wsgi.input`` (gevent/pywsgi.py, get_environ);
behind it is the socket. Reading through that file finds bytes pipelined behind the request.
"""

from __future__ import annotations

import io
from typing import Any

from gevent.pywsgi import Input
from gevent.socket import socket

from .base import Takeover
from .serving import PywsgiRequest, find_serving

__all__ = ["Pywsgi"]


class Pywsgi(Takeover):
    """Takes the socket behind ``wsgi.input``; the 101 goes through pywsgi's ``write``."""

    name = "gevent.pywsgi.WSGIServer"

    def __init__(self, sock: socket, rfile: io.BufferedReader) -> None:
        super().__init__(sock)
        self._rfile = rfile

    @classmethod
    def claim(cls, environ: dict[str, Any]) -> Pywsgi | None:
        # Upgraded already: gevent-websocket's handler was loaded after the middleware, and this is its first request.
        if environ.get("wsgi.websocket") is not None or not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1."):
            return None
        serving = find_serving()
        if isinstance(serving, PywsgiRequest) and serving.is_of(environ):
            rfile = serving.held.rfile
        else:  # the application runs in a greenlet of its own
            rfile = environ.get("wsgi.input")
            if isinstance(rfile, Input):  # an Upgrade header that names more than WebSocket
                rfile = rfile.rfile
        if not isinstance(rfile, io.BufferedReader):
            return None
        sock = getattr(rfile.raw, "_sock", None)
        return cls(sock, rfile) if isinstance(sock, socket) else None

    def read(self, size: int) -> bytes:
        return self._rfile.read(size)

    def _discard(self) -> None:
        # A closed file ends the handler's keep-alive loop (handle_one_request), even with bytes in its buffer.
        self._rfile.close()
