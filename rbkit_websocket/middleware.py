"""The WSGI middleware: it costs other requests next to nothing, and leaves our own to other modules."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Unpack
from weakref import WeakSet

from .http import dispatch
from .http.pages import pages
from .http.responses import StartResponse
from .http.runtime import Runtime
from .options.switches import is_enabled
from .options.table import Options, Settings
from .profilers.requests.tracker import REQUESTS, Marker, track
from .system.loaded import is_importing, loaded
from .websocket.handshake import is_ours

__all__ = ["RbkitWebsocket", "ensure_started"]

WSGIApplication = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_entries: WeakSet[_Wrapped] = WeakSet()


# A function that returns a closure, not a class with __call__: a request that is not ours then costs 70 to 110 ns
# instead of 130 to 240 (benchmarks/middleware.py), since CPython calls a function without leaving the interpreter.
def RbkitWebsocket(  # noqa: N802 - users write and read it as the middleware's class
    app: WSGIApplication, **options: Unpack[Options]
) -> WSGIApplication:
    """Wraps a WSGI application so that the running process can be watched through a WebSocket on its own port.

    A request with ``Upgrade: websocket`` and the subprotocol ``rbkit`` on any path is answered here, and so are the
    pages at ``mount``. Everything else reaches ``app`` untouched: the same environ object, the same start_response,
    the application's own return value.

    All options are keywords; None means ``RBKIT_<OPTION>`` of the environment, else the default. docs/options.rst
    describes each.

    Args:
        app: the WSGI application.
        options: see above.

    Returns:
        The wrapped application; ``app`` itself where ``RBKIT_ENABLED`` is 0.

    Raises:
        ConfigurationError: an option has a value that cannot work.
        TypeError: there is no such option.
    """
    if not is_enabled():
        return app  # before the options are checked: this is the switch for an emergency
    module = sys._getframe(1).f_globals.get("__name__")
    settings = replace(Settings.from_options(**options), module=module if isinstance(module, str) else "")
    ours = pages(settings.mount)

    def rbkit_websocket(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if "HTTP_UPGRADE" in environ or environ.get("PATH_INFO") in ours:
            serve = dispatch.find_answer(environ, ours)
            if serve is not None:
                entry.start(environ)
                return serve(environ, start_response, entry.runtime)
        # Called from here alone: for the tracker the calling frame stands for the request.
        return forward(environ, start_response)

    def start_and_forward(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        entry.start(environ)
        return app(environ, start_response)

    # The first request of a process starts the server; from then on this is the application, at no cost. While a
    # profiler runs, it is the application inside a function that notes which request a stack belongs to.
    forward: WSGIApplication = start_and_forward

    def switch(to: WSGIApplication | None) -> None:
        nonlocal forward
        forward = to or start_and_forward

    _import_ahead()
    entry = _Wrapped(Runtime(settings), app, switch)
    _name_requests(rbkit_websocket, settings.request_names, ours)
    rbkit_websocket.__wrapped__ = app  # type: ignore[attr-defined]
    if hasattr(app, "app_protocol"):
        # gevent-websocket asks the application object which subprotocol of the application's own to agree on.
        rbkit_websocket.app_protocol = app.app_protocol  # type: ignore[attr-defined]
    return rbkit_websocket


class _Wrapped:
    """One wrapped application of this process."""

    def __init__(
        self, runtime: Runtime, app: WSGIApplication, switch: Callable[[WSGIApplication | None], None]
    ) -> None:
        self.runtime = runtime
        if not runtime.looks_after_itself:
            app = _looking_after(runtime, app)
        self._app = app
        self._tracked = track(app) if runtime.settings.request_names else app
        self._switch = switch
        self._started = False
        if not _entries:
            os.register_at_fork(after_in_child=_restart_after_fork)
        _entries.add(self)
        _tame_websocket_handler()

    def start(self, environ: dict[str, Any] | None = None) -> None:
        """Starts the embedded server and makes the token, once in a process; never raises."""
        self.started(True)
        _tame_websocket_handler()
        self.runtime.start(environ)

    def started(self, done: bool) -> None:
        """Sends requests straight to the application from now on, or lets the next one start the server first."""
        if done != self._started:
            self._started = done
            self.switch()

    def switch(self) -> None:
        """Chooses the function for requests; called by the server's thread as well."""
        self._switch((self._tracked if REQUESTS.tracking else self._app) if self._started else None)


def _looking_after(runtime: Runtime, app: WSGIApplication) -> WSGIApplication:
    def look_and_forward(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        runtime.access.look()
        return app(environ, start_response)

    return look_and_forward


def _import_ahead() -> None:
    """Imports the modules that serve requests, where gevent is loaded: at the first one no descriptor may be left.

    Not while another thread imports a part of gevent: the application would wait for that here.
    """
    if loaded("gevent") is not None and not is_importing("gevent"):
        from . import server  # noqa: F401
        from .http import upgrade  # noqa: F401


def ensure_started() -> None:
    """Starts the embedded server of every middleware of this process now rather than with its first request.

    For gunicorn's ``post_worker_init``, so that every worker is listed before its first request. Never raises.
    """
    for entry in tuple(_entries):
        entry.start()


def _name_requests(wrapped: Any, named: bool, ours: frozenset[str]) -> None:
    """Lets the tracker find requests on stacks, even requests older than the profiler, unless they stay unnamed."""
    if named:
        REQUESTS.connect(Marker(wrapped.__code__, "environ"), is_ours, _switch_all, ours)
    else:
        # A copy, which is not the marker's.
        wrapped.__code__ = wrapped.__code__.replace()


def _switch_all() -> None:
    for entry in tuple(_entries):
        entry.switch()


def _restart_after_fork() -> None:
    for entry in tuple(_entries):
        entry.started(False)


def _tame_websocket_handler() -> None:
    # pywsgi's handler may be imported at any time; under other servers nothing is loaded for it.
    if loaded("gevent.pywsgi") is not None:
        from .takeover.websocket_handler import install

        install()
