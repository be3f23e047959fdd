"""Taking the raw socket over from the web server: one file a server, each with its detection, take-over and clean end.

The registry below is the only dispatcher. A new server is one new file and one line in it; the first adapter that
claims a request gets it.
"""

from __future__ import annotations

from typing import Any, Final

from .base import Takeover
from .gunicorn_gevent import GunicornGevent
from .gunicorn_pywsgi import GunicornPywsgi
from .pywsgi import Pywsgi
from .websocket_handler import PywsgiWebSocketHandler, install

__all__ = ["UNSUPPORTED", "Takeover", "claim", "install"]

# Most specific first: every pywsgi request would satisfy the plain adapter too.
_ADAPTERS: Final[tuple[type[Takeover], ...]] = (GunicornGevent, GunicornPywsgi, PywsgiWebSocketHandler, Pywsgi)

UNSUPPORTED: Final = (
    "this web server does not hand its sockets over to rbkit_websocket. These do: "
    + ", ".join(adapter.name for adapter in _ADAPTERS)
    + ". For this application: gunicorn -k gevent module:app"
)


def claim(environ: dict[str, Any]) -> Takeover | None:
    """The take-over of this request's connection, prepared but not begun; None when the socket cannot be had."""
    for adapter in _ADAPTERS:
        if takeover := adapter.claim(environ):
            return takeover
    return None
