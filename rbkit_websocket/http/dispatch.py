"""The two kinds of requests that are ours: upgrades that name ``rbkit``, and pages below ``mount``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..system.loaded import import_gevent
from ..websocket.handshake import is_ours
from .pages import respond_at_mount
from .responses import StartResponse
from .runtime import Runtime

__all__ = ["answer", "is_asked"]


def is_asked(environ: dict[str, Any], ours: frozenset[str]) -> bool:
    """Whether the request is one for us; ``ours`` are the paths of :func:`~.pages.pages`."""
    return is_ours(environ) or environ.get("PATH_INFO") in ours


def answer(environ: dict[str, Any], start_response: StartResponse, runtime: Runtime) -> Iterable[bytes]:
    """Serves a request for us, to its end."""
    if is_ours(environ):
        # Late, since it imports gevent: that is for servers that get WebSockets, not for everyone who imports us.
        import_gevent()
        from .upgrade import serve

        return serve(environ, start_response, runtime)
    return respond_at_mount(environ, start_response, runtime)
