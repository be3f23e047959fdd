"""The WSGI middleware: one look-up for a request that is none of ours, everything else elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal
from weakref import WeakSet

from .config import Settings, is_enabled
from .dashboard import respond_at_mount
from .handshake import is_ours
from .responses import StartResponse
from .runtime import Runtime

__all__ = ["RbkitWebsocket", "ensure_started"]

WSGIApplication = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_instances: WeakSet[RbkitWebsocket] = WeakSet()


class RbkitWebsocket:
    """Wraps a WSGI application so that the running process can be watched through a WebSocket on its own port.

    A request with ``Upgrade: websocket`` and the subprotocol ``rbkit`` on any path is answered here, and so is what
    is below ``mount``. Everything else reaches ``app`` untouched: the same environ object, the same start_response,
    the application's own return value.

    Args:
        app: the WSGI application.

    All options are keywords; None means ``RBKIT_<OPTION>`` of the environment, else the default. docs/options.rst
    describes each; :class:`~rbkit_websocket.config.Settings` has the defaults.

    Raises:
        ConfigurationError: an option has a value that cannot work.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        pub_endpoint: str | None = None,
        req_endpoint: str | None = None,
        name: str | None = None,
        token: str | Literal[False] | None = None,
        authorize: Callable[[dict[str, Any]], bool] | str | None = None,
        allowed_origins: Iterable[str] | str | None = None,
        mount: str | None = None,
        frames: Literal["binary", "text"] | None = None,
        command_timeout: float | None = None,
        connect_timeout: float | None = None,
        max_sessions: int | None = None,
        max_commands: int | None = None,
        max_message: int | None = None,
        backlog: int | None = None,
        ping_interval: float | None = None,
        pub_port: int | None = None,
        req_port: int | None = None,
        linger: float | None = None,
        snapshot_rate: int | None = None,
        runtime_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        options = dict(locals())
        del options["self"], options["app"]
        settings = Settings.from_options(**options)
        self._app = app
        self._enabled = is_enabled()
        self._mount = settings.mount
        self._mount_length = len(settings.mount)
        self._runtime = Runtime(settings)
        # The first request starts what is needed; from then on this is the application itself, at no cost.
        self._pass: WSGIApplication = self._start_and_pass if self._enabled else app
        if self._enabled:
            if not _instances:
                os.register_at_fork(after_in_child=_restart_after_fork)
            _instances.add(self)
            _tame_websocket_handler()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        if "HTTP_UPGRADE" in environ or environ.get("PATH_INFO", "")[: self._mount_length] == self._mount:
            return self._judge(environ, start_response)
        return self._pass(environ, start_response)

    def _judge(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if self._enabled and is_ours(environ):
            self._runtime.start(environ)
            # Late, since it imports gevent: that is for servers that get WebSockets, not for everyone who imports us.
            from .upgrade import serve

            return serve(environ, start_response, self._runtime)
        path = environ.get("PATH_INFO", "")
        if self._enabled and (path == self._mount or path.startswith(f"{self._mount}/")):
            self._runtime.start(environ)
            return respond_at_mount(environ, start_response, self._runtime)
        return self._pass(environ, start_response)

    def _start_and_pass(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self._pass = self._app
        self.ensure_started(environ)
        return self._app(environ, start_response)

    def ensure_started(self, environ: dict[str, Any] | None = None) -> None:
        """Starts the embedded server and makes the token, if that has not happened in this process; never raises."""
        if self._enabled:
            self._pass = self._app
            _tame_websocket_handler()
            self._runtime.start(environ)


def ensure_started() -> None:
    """Starts the embedded server of every middleware of this process now rather than with its first request.

    For gunicorn's ``post_worker_init``, so that every worker is listed before anybody visits it. Never raises.
    """
    for instance in tuple(_instances):
        instance.ensure_started()


def _restart_after_fork() -> None:
    for instance in tuple(_instances):
        instance._pass = instance._start_and_pass


def _tame_websocket_handler() -> None:
    if "geventwebsocket.handler" in sys.modules:
        from .takeover.websocket_handler import install

        install()
