"""The handler of Python's own ``http.server`` that a request runs in, under any server made of it.

werkzeug (``flask run``), Django's ``runserver`` and ``wsgiref`` are such servers. What they put into the environ tells
neither whether they have threads (Django says yes with ``--nothreading``, wsgiref no with a ``ThreadingMixIn``) nor
what they are going to log, and each wraps the connection's file in its own way. The handler knows all of it, and it is
always there: it waits further up on the stack until the application has answered.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

__all__ = ["find_handler"]


def find_handler(environ: dict[str, Any]) -> Any:
    """The ``BaseHTTPRequestHandler`` that has read this very request, or None under any other server."""
    module = sys.modules.get("http.server")
    if module is None:
        return None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_varnames[:1] == ("self",):
            handler = frame.f_locals.get("self")
            # One further up may serve another request, whose application asks us for something in its turn.
            if isinstance(handler, module.BaseHTTPRequestHandler) and _reads_from(environ, handler):
                return handler
        frame = frame.f_back
    return None


def _reads_from(environ: dict[str, Any], handler: Any) -> bool:
    rfile, stream = getattr(handler, "rfile", None), environ.get("wsgi.input")
    if rfile is None or stream is None:
        return False
    # werkzeug and wsgiref give the file itself; Django's LimitedStream (django/core/handlers/wsgi.py) has its method.
    return stream is rfile or getattr(getattr(stream, "_read", None), "__self__", None) is rfile
