"""Pages under ``mount``: the dashboard, the list of servers, and the login that turns a token into a cookie."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

from ..errors import Refused, RuntimeDirectoryError, ServerStartError
from ..system.loaded import import_gevent
from .dashboard import bundle, page
from .redaction import redact
from .responses import StartResponse, as_json, refuse, respond
from .runtime import Runtime

__all__ = ["pages", "respond_at_mount"]

_MAX_BODY: Final = 4096


def pages(mount: str) -> frozenset[str]:
    """The paths of our pages; all others are the application's."""
    # Exact names: the middleware compares nothing else, and only the bundle's files can be asked for.
    return frozenset(mount + path for path in (*_PAGES, *(f"/{name}" for name in bundle.names())))


def respond_at_mount(environ: dict[str, Any], start_response: StartResponse, runtime: Runtime) -> list[bytes]:
    """Answers a request for one of :func:`pages`; the application does not see it."""
    request = dict(environ)
    # First: uvicorn logs a request as soon as its answer begins.
    redact(environ, start_response)
    return _respond(request, start_response, runtime)


def _respond(environ: dict[str, Any], start_response: StartResponse, runtime: Runtime) -> list[bytes]:
    path = environ.get("PATH_INFO", "")[len(runtime.settings.mount) :]
    method = environ.get("REQUEST_METHOD", "")
    try:
        allowed, handler = _PAGES.get(path) or _FILE
        if method not in allowed:
            raise Refused("405 Method Not Allowed", f"use {allowed[0]} here", (("Allow", ", ".join(allowed)),))
        return handler(environ, start_response, runtime)
    except Refused as refusal:
        return refuse(environ, start_response, refusal)
    except (ServerStartError, RuntimeDirectoryError) as error:
        return refuse(environ, start_response, Refused("503 Service Unavailable", str(error)))
    except OSError as error:
        words = f"this cannot be answered now: {error.strerror} in the process"
        return refuse(environ, start_response, Refused("503 Service Unavailable", words))


def _redirect(environ: dict[str, Any], start_response: StartResponse, runtime: Runtime) -> list[bytes]:
    return page.redirect(environ, start_response, runtime.settings.mount)


def _file(environ: dict[str, Any], start_response: StartResponse, runtime: Runtime) -> list[bytes]:
    return page.serve_file(environ, start_response, environ["PATH_INFO"][len(runtime.settings.mount) + 1 :])


def _servers(environ: dict[str, Any], start_response: StartResponse, runtime: Runtime) -> list[bytes]:
    runtime.access.gate(environ).check(environ)
    # Late, as it imports gevent. A browser does not learn why its WebSocket was refused: the list says it.
    import_gevent()
    from ..takeover.registry import refusal

    answer = {
        "application": runtime.settings.title,
        "servers": runtime.servers.listing(),
        "obstacle": refusal(environ),
    }
    return as_json(environ, start_response, answer)


def _login(environ: dict[str, Any], start_response: StartResponse, runtime: Runtime) -> list[bytes]:
    """``token=...`` as a form in the body gets the cookie that opens the WebSocket from a page of the same host."""
    gate = runtime.access.gate(environ)
    if not gate.cookie_value:
        gate.check(environ)
        return respond(environ, start_response, "200 OK", b"ok, no token is needed\n")
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = -1
    if not 0 <= length <= _MAX_BODY:
        raise Refused("413 Content Too Large", "send token=... as a form, nothing else")
    form = parse_qs(environ["wsgi.input"].read(length).decode("utf-8", "replace"), max_num_fields=None)
    token = form.get("token", [""])[-1]
    # The same judgement as for a WebSocket, with the token where a program would put it.
    gate.check({**environ, "HTTP_AUTHORIZATION": f"Bearer {token}"} if token else environ)
    attributes = [
        f"{gate.cookie_name}={gate.cookie_value}",
        f"Path={environ.get('SCRIPT_NAME') or '/'}",
        "HttpOnly",
        "SameSite=Strict",
    ]
    if environ.get("wsgi.url_scheme") == "https":
        attributes.append("Secure")
    return respond(environ, start_response, "200 OK", b"ok\n", headers=[("Set-Cookie", "; ".join(attributes))])


_FILE: Final = (("GET", "HEAD"), _file)

_PAGES: Final = {
    "": (("GET", "HEAD"), _redirect),
    "/": _FILE,
    "/servers": (("GET", "HEAD"), _servers),
    "/login": (("POST",), _login),
}
