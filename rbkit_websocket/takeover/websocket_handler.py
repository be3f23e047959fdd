"""gevent-websocket's WebSocketHandler, under pywsgi or as gunicorn's GeventWebSocketWorker.

That handler sends its own 101 before it calls the application, and without the subprotocol, which makes browsers drop
the connection. So its ``upgrade_websocket`` is wrapped: a request that names ``rbkit`` skips it, reaches the
middleware as a plain request and takes the recipe of pywsgi, plain HTTP refusals included. WebSockets of the
application's own are upgraded as before.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

from ..system.loaded import loaded
from ..websocket.handshake import is_ours
from .pywsgi import Pywsgi

__all__ = ["PywsgiWebSocketHandler", "install"]

_MODULE = "geventwebsocket.handler"


def install() -> None:
    """Wraps the handler, once. Called only where gevent's pywsgi is loaded, on which the handler builds."""
    module = import_module(_MODULE)
    original = module.WebSocketHandler.upgrade_websocket
    if getattr(original, "_rbkit", False):
        return

    @functools.wraps(original)
    def upgrade_websocket(handler: Any) -> Any:
        return None if is_ours(handler.environ) else original(handler)

    upgrade_websocket._rbkit = True  # type: ignore[attr-defined]
    module.WebSocketHandler.upgrade_websocket = upgrade_websocket


class PywsgiWebSocketHandler(Pywsgi):
    """A :class:`~.pywsgi.Pywsgi` for connections that the wrapped handler has let pass."""

    name = "GeventWebSocketWorker, WebSocketHandler"

    @classmethod
    def claim(cls, environ: dict[str, Any]) -> Pywsgi | None:
        module = loaded(_MODULE)
        if module is None or not getattr(module.WebSocketHandler.upgrade_websocket, "_rbkit", False):
            return None
        return super().claim(environ)
