"""Servers that cannot hand a socket over, and why, by what each is known by.

waitress and bjoern parse and write in an event loop of their own, and go on reading a connection whose request is being
answered. The WSGI adapters of ASGI servers have no connection at all: it belongs to a protocol object in asyncio's
loop. Each of them would lose or mix bytes if a session wrote to the descriptor behind its back.
"""

from __future__ import annotations

import io
import sys
from typing import Any, Final

from ..loaded import loaded
from .base import gunicorn_worker

__all__ = ["reason"]

_ASGI: Final = (
    "ASGI servers (uvicorn, hypercorn, also with a2wsgi) give a WSGI application messages and no socket: serve it with "
    "a WSGI server"
)


def reason(environ: dict[str, Any]) -> str:
    """What stands in the way of a session under the server behind ``environ``."""
    if not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1."):
        return "over HTTP/2 many streams share one connection: connect with HTTP/1.1"
    if "waitress.client_disconnected" in environ or "waitress" in environ.get("SERVER_SOFTWARE", ""):
        return "waitress keeps its sockets to itself"
    if "asgi.scope" in environ:  # a2wsgi
        return _ASGI
    if isinstance(environ.get("wsgi.input"), io.BytesIO):
        # These do not say who they are, but give the whole body like this.
        if "bjoern" in sys.modules:
            return "bjoern keeps its sockets to itself"
        if "uvicorn" in sys.modules or "hypercorn" in sys.modules:
            return _ASGI
    module, worker = loaded("gunicorn.workers.sync"), gunicorn_worker()
    if module is not None and isinstance(worker, module.SyncWorker):
        return (
            "gunicorn's sync worker serves one request at a time, so a session would stop the application: use "
            "gunicorn -k gevent, or have threads with --threads 8"
        )
    return "this web server does not hand its sockets over to rbkit_websocket"
