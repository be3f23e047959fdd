"""The two kinds of requests that are ours: upgrades that name ``rbkit``, and pages below ``mount``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..system.loaded import import_gevent
from ..websocket.handshake import is_ours
from .pages import respond_at_mount
from .responses import StartResponse
from .runtime import Runtime

__all__ = ["find_answer", "serve_session"]

Answer = Callable[[dict[str, Any], StartResponse, Runtime], Iterable[bytes]]


def serve_session(environ: dict[str, Any], start_response: StartResponse, runtime: Runtime) -> Iterable[bytes]:
    """Serves an upgrade to its end."""
    # Late, since it imports gevent: only a process that gets WebSockets loads it.
    import_gevent()
    from .upgrade import serve_upgrade

    return serve_upgrade(environ, start_response, runtime)


def find_answer(environ: dict[str, Any], ours: frozenset[str]) -> Answer | None:
    """The function that serves a request of ours: :func:`serve_session` or a page; None for the application's.

    Args:
        environ: of the request.
        ours: the paths of :func:`~.pages.pages`.
    """
    if is_ours(environ):
        return serve_session
    return respond_at_mount if environ.get("PATH_INFO") in ours else None
