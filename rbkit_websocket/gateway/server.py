"""The server of ``rbkit-websocket gateway``, loaded once its process is patched."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import gevent
import gevent.event

from .. import close_sessions
from ..errors import ConfigurationError, RbkitError
from ..fleet import records
from ..fleet.tokenfile import generated_token
from ..http import dispatch, upgrade  # noqa: F401 - at the first request no descriptor may be left to import with
from ..http.pages import pages
from ..http.responses import respond
from ..http.runtime import Runtime
from ..options.switches import is_enabled
from ..options.table import Settings, Taker
from .connections import GatewayServer
from .named_servers import NamedServers
from .serverlist import NamedServer, parse_servers, read_file

__all__ = ["GatewayError", "run_gateway"]

log = logging.getLogger(__name__)

# Seconds between two looks at the token's file.
_LOOK_EVERY: Final = 1.0


class GatewayError(RbkitError):
    """The gateway cannot serve; the text says why."""


def application(
    runtime: Runtime, ours: frozenset[str], environ: dict[str, Any], start_response: Any
) -> Iterable[bytes]:
    """Answers like the middleware, without an application behind it; ``ours`` are the paths of pages."""
    serve = dispatch.find_answer(environ, ours)
    if serve is None:
        return not_found(environ, start_response)
    if serve is dispatch.serve_session:
        GatewayServer.stay(environ)
    return serve(environ, start_response, runtime)


def not_found(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answers every other request."""
    body = b"This is the gateway of an Rbkit server: connect with a WebSocket of subprotocol rbkit.\n"
    return respond(environ, start_response, "404 Not Found", body)


def run_gateway(address: tuple[str, int], servers: Sequence[str], servers_file: Path | None, **options: Any) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        address: host (name or IP address) and port.
        servers: named servers as on the command line.
        servers_file: a file of them, read again on SIGHUP.
        options: of :class:`RbkitWebsocket`; None means the environment's. Without named servers they give the only one.

    Raises:
        ConfigurationError: an option cannot work.
        RuntimeDirectoryError: the generated token cannot be kept.
        GatewayError: the address cannot be listened on.
    """
    settings, read = _settings(options, servers, servers_file)
    named = NamedServers(read(), settings.mount)
    runtime = Runtime(settings, named)
    token = settings.token
    if token is None and settings.authorize is None:
        # Made here: the gate would print a new token with an address without a port.
        directory = records.runtime_directory(settings.runtime_dir)
        token, _, _ = generated_token(directory, settings.name)
    runtime.access.gate()
    server = GatewayServer(_resolved(address), partial(application, runtime, pages(settings.mount)))
    try:
        server.start()
    except OSError as error:
        # Not error.strerror: gevent appends the address to it.
        problem = os.strerror(error.errno) if error.errno else str(error)
        raise GatewayError(f"cannot listen on {address[0]}:{address[1]}: {problem}") from error

    finished = gevent.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, finished.set)
    if servers_file is not None:
        gevent.signal_handler(signal.SIGHUP, _reload, named, read)
    location = _location(address[0], int(server.server_port or 0))
    quoted = quote(token, safe="") if token else None
    click.echo(f"websocket ws://{location}/" + (f"?token={quoted}" if quoted else "") + "  (subprotocol rbkit)")
    click.echo(f"dashboard http://{location}{settings.mount}/" + (f"#token={quoted}" if quoted else ""))
    _tell(named)
    while not finished.wait(_LOOK_EVERY):
        runtime.access.keep()
    # The sessions first: stop() would drop their connections without a word.
    close_sessions()
    server.stop(timeout=1)


def _reload(servers: NamedServers, read: Callable[[], list[NamedServer]]) -> None:
    try:
        servers.replace(read())
    except ConfigurationError as error:
        log.error("rbkit: %s. The servers stay as they were.", error)
    else:
        _tell(servers)


def _tell(servers: NamedServers) -> None:
    for server in servers.named:
        click.echo(f"bridge {server.name} to {server.pub} and {server.req}{' with CURVE' if server.keys else ''}")


def _settings(
    options: dict[str, Any], servers: Sequence[str], servers_file: Path | None
) -> tuple[Settings, Callable[[], list[NamedServer]]]:
    """The settings, and a function that reads the servers, now and later."""
    if not is_enabled():
        raise ConfigurationError("RBKIT_ENABLED is off in the environment: a gateway would serve nothing")
    environ = dict(os.environ)
    if servers or servers_file is not None:
        # They are of the only server where none is named: not of these.
        for variable in ("RBKIT_PUB_ENDPOINT", "RBKIT_REQ_ENDPOINT"):
            environ.pop(variable, None)
    settings = Settings.from_options(environ, Taker.GATEWAY, **options)
    own, server_key = settings.curve_secret_key_file, settings.curve_server_key_file

    def read() -> list[NamedServer]:
        if servers_file is not None:
            return read_file(servers_file, own, server_key)
        if servers:
            return parse_servers(servers, own, server_key)
        if settings.pub_endpoint is None or settings.req_endpoint is None:
            raise ConfigurationError(
                "no Rbkit server given: --pub-endpoint tcp://127.0.0.1:5555 --req-endpoint tcp://127.0.0.1:5556, or "
                "--server web1=tcp://10.0.0.5:5555,5556 for each of several"
            )
        return [NamedServer.with_keys("default", settings.pub_endpoint, settings.req_endpoint, own, server_key)]

    named = settings
    if options["name"] is None:
        # Not by command line and directory, as for applications: the token stays when the port changes.
        what = servers_file or ",".join(text.partition("=")[0] for text in servers) or settings.req_endpoint
        named = dataclasses.replace(settings, name=f"gateway {what}"[:200])
    return named, read


def _resolved(address: tuple[str, int]) -> tuple[str, int]:
    """Host names by IP address: gevent would ask its resolver for IPv4 only."""
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise GatewayError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return str(found[0][4][0]), port


def _location(host: str, port: int) -> str:
    # For every interface, show this machine's own.
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
