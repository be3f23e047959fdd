"""Taking the raw socket over from the web server: one file a server, each with its detection, take-over and clean end.

The registry below is the only dispatcher. A new server is one new file and one line in it; the first adapter that
claims a request gets it.
"""

from __future__ import annotations

from typing import Any, Final

from .base import Takeover
from .cheroot import Cheroot
from .gunicorn_gevent import GunicornGevent
from .gunicorn_gthread import GunicornGthread
from .gunicorn_pywsgi import GunicornPywsgi
from .hangup import close_behind_answer
from .http_server import HttpServer
from .pywsgi import Pywsgi
from .refusals import refusal_by_middleware, refusal_by_server
from .uwsgi import Uwsgi
from .websocket_handler import PywsgiWebSocketHandler, install

__all__ = ["Takeover", "claim", "close_behind_answer", "install", "refusal", "refusal_of"]

# Most specific first. Under monkey patching a server of threads has gevent's sockets too, and any such socket
# below a buffered file would satisfy the plain adapter of pywsgi.
_ADAPTERS: Final[tuple[type[Takeover], ...]] = (
    GunicornGthread,
    HttpServer,
    Cheroot,
    Uwsgi,
    GunicornGevent,
    GunicornPywsgi,
    PywsgiWebSocketHandler,
    Pywsgi,
)


def claim(environ: dict[str, Any]) -> Takeover | None:
    """The take-over of this request's connection, prepared but not begun; None when the server hands no socket over."""
    for adapter in _ADAPTERS:
        if takeover := adapter.claim(environ):
            return takeover
    return None


def refusal(environ: dict[str, Any]) -> str | None:
    """The reason why the web server of this request (any request) cannot serve sessions; None: it can, or unknown.

    Some requests do not show what an upgrade would find: over HTTP/2, where a WebSocket gets a connection of its own;
    with a body in chunks, whose reader hides the parser's; and a WebSocket of the application's.
    """
    shows_nothing = (
        environ.get("SERVER_PROTOCOL") in ("HTTP/2", "HTTP/2.0")
        or "HTTP_TRANSFER_ENCODING" in environ
        or environ.get("wsgi.websocket") is not None
    )
    return None if shows_nothing else refusal_of(claim(environ), environ)


def refusal_of(takeover: Takeover | None, environ: dict[str, Any]) -> str | None:
    """The reason why the result of :func:`claim` for this request cannot carry a session; None: it can."""
    return _unclaimed(environ) if takeover is None else takeover.refusal()


def _unclaimed(environ: dict[str, Any]) -> str:
    """The reason why no adapter claims the request, and servers to use instead, for the 501."""
    if (why := refusal_by_middleware(environ)) is not None:
        return why
    names = "; ".join(adapter.name for adapter in reversed(_ADAPTERS))
    return f"{refusal_by_server(environ)}. For this application: gunicorn -k gevent module:app. All that work: {names}"
