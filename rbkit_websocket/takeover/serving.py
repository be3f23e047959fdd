"""Finds the web server's own object of a request further up on the stack.

A middleware may have changed a request (a copy of the environ, another ``wsgi.input``, another ``start_response``), so
that it no longer leads to its connection. The server's own object does: one of the server's functions waits further up
until the application has answered. An application that is called in another thread or greenlet has none there.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, ClassVar, Final

__all__ = [
    "AsgiRequest",
    "CherootRequest",
    "GunicornRequest",
    "HttpServerRequest",
    "PywsgiRequest",
    "Serving",
    "find_serving",
]

Hide = Callable[[str], str]


class Serving(ABC):
    """One request in the hands of a server.

    Attributes:
        modules: modules of the server's functions that wait for the application.
        held: the server's object of the request: a handler, a response, a task.
        closing: headers that make the server end the connection, where only a header does.
    """

    modules: ClassVar[tuple[str, ...]]
    closing: tuple[tuple[str, str], ...] = ()

    def __init__(self, held: Any, environ: dict[str, Any] | None = None) -> None:
        self.held = held
        self._environ = environ

    @classmethod
    @abstractmethod
    def at(cls, names: Mapping[str, Any]) -> Serving | None:
        """The request of a function with these local names, if the function waits for the application."""

    @abstractmethod
    def header(self, name: str) -> str | None:
        """A header of the request as the client sent it."""

    def is_of(self, environ: Mapping[str, Any]) -> bool:
        """Whether an upgrade request is this one, and not one that the application makes to another application."""
        # Some servers strip header values in the environ.
        asked: str = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
        return asked.strip() == (self.header("Sec-WebSocket-Key") or "").strip()

    @abstractmethod
    def close_after(self) -> None:
        """Makes the server end the connection behind the answer to this request, instead of reading the next one."""

    def hide(self, hide: Hide) -> None:
        """Changes every text of the request that the server may write to its access log."""
        if self._environ is not None:
            hide_in(self._environ, hide)


def hide_in(environ: dict[str, Any], hide: Hide) -> None:
    """Changes the texts of an environ, but for the WebSocket's own: its key may look like a secret."""
    for key, value in environ.items():
        if isinstance(value, str) and not key.startswith("HTTP_SEC_"):
            environ[key] = hide(value)


def _hide_attributes(held: Any, names: Iterable[str], hide: Hide) -> None:
    for name in names:
        if isinstance(value := getattr(held, name, None), str):
            setattr(held, name, hide(value))


class GunicornRequest(Serving):
    """gunicorn's own workers: its ``Response``, which has the request (gunicorn/http/wsgi.py)."""

    modules = ("gunicorn.workers.base_async", "gunicorn.workers.gthread", "gunicorn.workers.sync")

    @classmethod
    def at(cls, names: Mapping[str, Any]) -> Serving | None:
        response = names.get("resp")
        return cls(response, names.get("environ")) if response is not None else None

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.held.req.headers if key == name.upper()]
        return ",".join(values) if values else None

    def close_after(self) -> None:
        self.held.force_close()

    def hide(self, hide: Hide) -> None:
        super().hide(hide)
        request = self.held.req
        request.headers = [(key, value if key.startswith("SEC-") else hide(value)) for key, value in request.headers]


class _HeldHandler(Serving):
    """A handler with the attributes of ``http.server``'s, as pywsgi's has them too."""

    @classmethod
    def at(cls, names: Mapping[str, Any]) -> Serving | None:
        handler = names.get("self")
        return cls(handler, getattr(handler, "environ", None)) if hasattr(handler, "requestline") else None

    def header(self, name: str) -> str | None:
        values = self.held.headers.get_all(name)
        return ",".join(values) if values else None

    def close_after(self) -> None:
        self.held.close_connection = True

    def hide(self, hide: Hide) -> None:
        super().hide(hide)
        _hide_attributes(self.held, ("requestline", "path"), hide)
        headers = self.held.headers
        fields = headers.items()
        for key, _ in fields:
            del headers[key]  # all of that name; there may be several
        for key, value in fields:
            headers[key] = value if key.lower().startswith("sec-") else hide(value)


class PywsgiRequest(_HeldHandler):
    """gevent.pywsgi and servers made of it: its ``WSGIHandler``."""

    modules = ("gevent.pywsgi",)
    # In time for the header of the answer as well.
    closing = (("Connection", "close"),)


class HttpServerRequest(_HeldHandler):
    """werkzeug (``flask run``), Django's ``runserver``, ``wsgiref`` and all made of ``http.server``: its handler.

    Their environ tells neither whether they have threads (Django says yes with ``--nothreading``, wsgiref no with a
    ``ThreadingMixIn``) nor which texts they are going to log.
    """

    modules = ("socketserver",)


class CherootRequest(Serving):
    """cheroot: its ``HTTPRequest``."""

    modules = ("cheroot.server",)

    @classmethod
    def at(cls, names: Mapping[str, Any]) -> Serving | None:
        request = names.get("self")
        return cls(request) if hasattr(request, "inheaders") else None

    def header(self, name: str) -> str | None:
        value = self.held.inheaders.get(name.title().encode("ascii"))
        return value.decode("latin-1") if value is not None else None

    def close_after(self) -> None:
        self.held.close_connection = True


class WaitressRequest(Serving):
    """waitress: its ``WSGITask``."""

    modules = ("waitress.task",)

    @classmethod
    def at(cls, names: Mapping[str, Any]) -> Serving | None:
        task = names.get("self")
        return cls(task, names.get("environ")) if hasattr(task, "close_on_finish") else None

    def header(self, name: str) -> str | None:
        value: str | None = self.held.request.headers.get(name.upper().replace("-", "_"))
        return value

    def close_after(self) -> None:
        self.held.close_on_finish = True


class AsgiRequest(Serving):
    """A WSGI application in an ASGI server: the calling adapter, whose scope uvicorn logs."""

    modules = ("uvicorn.middleware.wsgi", "a2wsgi.wsgi", "hypercorn.app_wrappers")
    # There is no connection but the server's own, which does as this says.
    closing = (("Connection", "close"),)

    @classmethod
    def at(cls, names: Mapping[str, Any]) -> Serving | None:
        return cls(names.get("self"), names.get("environ"))

    def header(self, name: str) -> str | None:
        value: str | None = (self._environ or {}).get(f"HTTP_{name.upper().replace('-', '_')}")
        return value

    def close_after(self) -> None:
        pass

    def hide(self, hide: Hide) -> None:
        super().hide(hide)
        scope = getattr(self.held, "scope", None) or (self._environ or {}).get("asgi.scope")
        if scope is not None:
            scope["path"] = hide(scope["path"])
            scope["query_string"] = hide(scope["query_string"].decode("latin-1")).encode("latin-1")


_SERVERS: Final = (
    *(GunicornRequest, PywsgiRequest, HttpServerRequest, CherootRequest, WaitressRequest),
    AsgiRequest,
)
_BY_MODULE: Final = {module: server for server in _SERVERS for module in server.modules}


def find_serving() -> Serving | None:
    """The request that the innermost server up the stack is serving; None: there is no known server."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        server = _BY_MODULE.get(frame.f_globals.get("__name__", ""))
        if server is not None and (found := server.at(frame.f_locals)) is not None:
            return found
        frame = frame.f_back
    return None
