"""uWSGI with its gevent loop, by itself (``--http-socket``) or behind its http router (``--http``).

uWSGI gives no socket but tells the connection's descriptor, whose copy becomes a socket of gevent's. Bytes that a
client has sent right behind its request are in uWSGI's own buffer and lost; clients that follow RFC 6455 wait for the
101. Each session occupies one of the ``--gevent`` cores.

On SIGHUP (graceful reload) uWSGI waits for requests in progress, for up to a minute. Its Python API does not tell of
it, so a second watcher of that signal stands beside uWSGI's own in gevent's loop.

The http router passes on bytes behind a request only with ``--http-websockets``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.socket import socket

from .base import StartResponse, Takeover

__all__ = ["Uwsgi"]

_NO_GEVENT = (
    "uWSGI hands its connections over only where it runs gevent: uwsgi --gevent 100 --gevent-monkey-patch "
    "(with --http-websockets behind its http router)"
)
_ROUTER = (
    "uWSGI's http router passes nothing on to a WebSocket unless it is told to: add --http-websockets, or use "
    "--http-socket"
)
_TLS = (
    "uWSGI's own TLS is not in the connection that it hands over: use --http-socket behind a proxy that does TLS, or "
    "--https with --http-websockets, where its router does"
)
_ONE_CORE = (
    "the only gevent core would be kept from the application by a session. Start this server with --gevent 2 at least, "
    "a session each: uwsgi --gevent 100"
)


class Uwsgi(Takeover):
    """Takes a copy of ``uwsgi.connection_fd()``; the 101 goes through uWSGI's ``write``."""

    name = "uwsgi --gevent"
    reads_on = True

    def __init__(self, uwsgi: Any, environ: dict[str, Any]) -> None:
        self._uwsgi = uwsgi
        self._router = environ.get("UWSGI_ROUTER") == "http"
        self._https = environ.get("wsgi.url_scheme") == "https"
        self._taken: socket | None = None
        self.threads = uwsgi.cores

    @classmethod
    def claim(cls, environ: dict[str, Any]) -> Uwsgi | None:
        uwsgi = sys.modules.get("uwsgi")
        return cls(uwsgi, environ) if uwsgi is not None and "uwsgi.version" in environ else None

    def refusal(self) -> str | None:
        if _text(self._uwsgi.loop) != "gevent" or get_hub_if_exists() is None:
            return _NO_GEVENT
        if self._router and "http-websockets" not in map(_text, self._uwsgi.opt):
            return _ROUTER
        if not self._router and self._https:
            return _TLS
        return _ONE_CORE if self.threads == 1 else None

    def leaving(self) -> Callable[[], bool]:
        return _Reload.watch()

    def open(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        self.sock = self._taken = socket(fileno=os.dup(self._uwsgi.connection_fd()))
        super().open(start_response, headers)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self.sock.recv(size - len(data))):
            data += more
        return data

    def finish(self) -> None:
        if self._taken is None:
            return  # refused: uWSGI has no next request on this connection
        super().finish()
        self._taken.close()

    def _discard(self) -> None:
        pass


class _Reload:
    """Whether this process has been told to end gracefully."""

    _one: _Reload | None = None

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._told = False
        # Without a reference: it must not keep the loop running that uWSGI waits for.
        self._watcher = gevent.get_hub().loop.signal(signal.SIGHUP, ref=False)
        self._watcher.start(self._tell)

    @classmethod
    def watch(cls) -> Callable[[], bool]:
        """Returns whether it has; the first call in a process sets the watcher up."""
        if cls._one is None or cls._one._pid != os.getpid():
            cls._one = cls()
        one = cls._one
        return lambda: one._told

    def _tell(self) -> None:
        self._told = True


def _text(value: Any) -> Any:
    # Bytes or str: that differs from version to version.
    return value.decode() if isinstance(value, bytes) else value
