"""Servers that cannot hand a socket over: how each is recognized, and why it cannot.

waitress and bjoern parse and write in an event loop of their own, and go on reading a connection whose request is being
answered. The WSGI adapters of ASGI servers have no connection at all: it belongs to a protocol object in asyncio's
loop. Each of them would lose or mix bytes if a session wrote to the descriptor behind its back.
"""

from __future__ import annotations

import io
import re
import sys
from typing import Any, Final

from ..system.loaded import loaded
from .base import gunicorn_worker
from .serving import find_serving

__all__ = ["refusal_by_middleware", "refusal_by_server"]

_ASGI: Final = (
    "ASGI servers (uvicorn, hypercorn, also with a2wsgi) give a WSGI application messages and no socket: serve it with "
    "a WSGI server"
)


# Their names in SERVER_SOFTWARE.
_KNOWN: Final = re.compile(r"gunicorn/|gevent/|Werkzeug/|WSGIServer/|Cheroot/")
_OF_SERVERS: Final = ("_io", "cheroot.", "django.core.", "gevent.", "gunicorn.", "werkzeug.")


def refusal_by_middleware(environ: dict[str, Any]) -> str | None:
    """The way in which a middleware hides the connection of a server that would hand it over; None: it does not."""
    if not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1.") or "asgi.scope" in environ:
        return None
    serving = find_serving()
    if serving is not None and serving.is_of(environ):
        return None  # the server's own doing: a worker that is not gevent's, say
    if not _KNOWN.search(environ.get("SERVER_SOFTWARE", "")) or _is_sync():
        return None
    kind = type(environ.get("wsgi.input"))
    name = f"{kind.__module__}.{kind.__qualname__}"
    replaced = "" if name.startswith(_OF_SERVERS) else f", and puts {name} in the place of the server's wsgi.input"
    return (
        "a middleware around RbkitWebsocket hides the web server's connection: it calls the application in another "
        f"thread or greenlet, or changes the request's headers{replaced}. Put RbkitWebsocket around that middleware, "
        "not inside of it"
    )


def _is_sync() -> bool:
    module = loaded("gunicorn.workers.sync")
    return module is not None and isinstance(gunicorn_worker(), module.SyncWorker)


def refusal_by_server(environ: dict[str, Any]) -> str:
    """The reason why the server behind ``environ`` cannot serve a session."""
    if not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1."):
        return "over HTTP/2 many streams share one connection: connect with HTTP/1.1"
    if "waitress.client_disconnected" in environ or "waitress" in environ.get("SERVER_SOFTWARE", ""):
        return "waitress keeps its sockets to itself"
    if "asgi.scope" in environ:  # a2wsgi
        return _ASGI
    if isinstance(environ.get("wsgi.input"), io.BytesIO):
        # These servers do not give their name, but give the whole body like this.
        if "bjoern" in sys.modules:
            return "bjoern keeps its sockets to itself"
        if "uvicorn" in sys.modules or "hypercorn" in sys.modules:
            return _ASGI
    if _is_sync():
        return (
            "gunicorn's sync worker serves one request at a time, so a session would stop the application: use "
            "gunicorn -k gevent, or have threads with --threads 8"
        )
    return "this web server does not hand its sockets over to rbkit_websocket"
