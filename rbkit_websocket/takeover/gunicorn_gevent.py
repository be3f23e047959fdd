"""gunicorn -k gevent: the server whose own HTTP parser reads ahead of us.

``gunicorn.socket`` is the connection (gunicorn/http/wsgi.py, default_environ). Bytes pipelined behind the request wait
in the parser's unreader (gunicorn/http/unreader.py); later bytes we read from the socket ourselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent.socket import socket

from .base import BufferedTakeover
from .serving import GunicornRequest, find_serving

__all__ = ["GunicornGevent", "pipelined"]


def pipelined(environ: dict[str, Any]) -> Callable[[], bytes] | None:
    """A function that takes bytes beyond the request out of gunicorn's parser; None: there is no parser."""
    serving = find_serving()
    if isinstance(serving, GunicornRequest) and serving.is_of(environ):
        unreader = serving.held.req.unreader
    else:
        # The application runs in a greenlet or thread of its own.
        reader = getattr(environ.get("wsgi.input"), "reader", None)
        unreader = getattr(getattr(reader, "req", reader), "unreader", None)  # a body in chunks hides it
    if unreader is None:
        return None

    def take() -> bytes:
        if hasattr(unreader, "take_buffered"):
            return bytes(unreader.take_buffered())
        data = bytes(unreader.buf.getvalue())  # gunicorn before 26
        unreader.buf.seek(0)
        unreader.buf.truncate()
        return data

    return take


class GunicornGevent(BufferedTakeover):
    """Takes ``gunicorn.socket``; the 101 goes through gunicorn's response."""

    name = "gunicorn -k gevent"
    reads_on = True

    def __init__(self, sock: socket, take_pipelined: Callable[[], bytes]) -> None:
        super().__init__(sock)
        self._take_pipelined = take_pipelined

    @classmethod
    def claim(cls, environ: dict[str, Any]) -> GunicornGevent | None:
        sock = environ.get("gunicorn.socket")
        # gunicorn -k gthread sets the same key to a socket of threads; HTTP/2 sets it to one that many streams share.
        if not isinstance(sock, socket) or not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1."):
            return None
        take_pipelined = pipelined(environ)
        return cls(sock, take_pipelined) if take_pipelined is not None else None

    def open(self, start_response: Any, headers: list[tuple[str, str]]) -> None:
        self._buffer += self._take_pipelined()
        super().open(start_response, headers)

    def _discard(self) -> None:
        self._take_pipelined()  # still there when the request was refused
        # On Linux shutdown(2) keeps what has been received, and gunicorn's keep-alive loop would read it. After the
        # shutdown nothing more is queued, so this ends.
        try:
            while self.sock.recv(65536):
                pass
        except OSError:
            pass  # reset by the peer: nothing is left to read either
