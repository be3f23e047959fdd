"""What ``rbkit-websocket gateway`` serves, once its process is patched."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import click
import gevent
import gevent.event
from gevent import pywsgi

from .. import RbkitWebsocket, close_sessions, discovery
from ..config import Settings, is_enabled
from ..errors import ConfigurationError, RbkitError

__all__ = ["GatewayError", "serve"]


class GatewayError(RbkitError):
    """The gateway cannot serve; the text says why."""


def not_found(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The application behind the middleware: there is none."""
    body = b"This is the gateway of an Rbkit server: connect with a WebSocket of subprotocol rbkit.\n"
    start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


def serve(address: tuple[str, int], **options: Any) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        address: host (name or IP address) and port.
        options: of :class:`RbkitWebsocket`; None means the environment's.

    Raises:
        ConfigurationError: an option cannot work.
        RuntimeDirectoryError: the generated token cannot be kept.
        GatewayError: the address cannot be listened on.
    """
    settings = _settings(options)
    options["name"] = settings.name
    if settings.token is None and settings.authorize is None:
        # The middleware would make it with the first request: too late to print the address now.
        directory = discovery.runtime_directory(settings.runtime_dir)
        options["token"], _ = discovery.generated_token(directory, settings.name)
    else:
        options["token"] = settings.token
    server = pywsgi.WSGIServer(_resolved(address), RbkitWebsocket(not_found, **options), log=None)
    try:
        server.start()
    except OSError as error:
        # Not error.strerror: gevent appends the address to it.
        problem = os.strerror(error.errno) if error.errno else str(error)
        raise GatewayError(f"cannot listen on {address[0]}:{address[1]}: {problem}") from error

    finished = gevent.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, finished.set)
    location = _location(address[0], int(server.server_port or 0))
    token = quote(options["token"], safe="") if options["token"] else None
    click.echo(f"websocket ws://{location}/" + (f"?token={token}" if token else "") + "  (subprotocol rbkit)")
    click.echo(f"dashboard http://{location}{settings.mount}/" + (f"#token={token}" if token else ""))
    click.echo(f"bridge to {settings.pub_endpoint} and {settings.req_endpoint}")
    finished.wait()
    # The sessions first: stop() would drop their connections without a word.
    close_sessions()
    server.stop(timeout=1)


def _settings(options: dict[str, Any]) -> Settings:
    if not is_enabled():
        raise ConfigurationError("RBKIT_ENABLED is off in the environment: a gateway would serve nothing")
    settings = Settings.from_options(**options)
    if settings.pub_endpoint is None:
        raise ConfigurationError(
            "no Rbkit server given: --pub-endpoint tcp://127.0.0.1:5555 --req-endpoint tcp://127.0.0.1:5556"
        )
    if options["name"] is None:
        # Not by command line and directory, as for applications: the token stays when the port changes.
        return Settings.from_options(**{**options, "name": _default_name(settings)})
    return settings


def _default_name(settings: Settings) -> str:
    return f"gateway {settings.req_endpoint}"[:200]


def _resolved(address: tuple[str, int]) -> tuple[str, int]:
    """Host names by IP address: gevent would ask its resolver for IPv4 only."""
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise GatewayError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return str(found[0][4][0]), port


def _location(host: str, port: int) -> str:
    # Every interface: this machine's own is one to show.
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
