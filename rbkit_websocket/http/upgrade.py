"""From an upgrade request that names ``rbkit`` to the end of its session."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from ..bridge import Bridge
from ..bridge.commands import NOT_RUNNING
from ..errors import NoRoom, NoSuchServer, Rejected, RuntimeDirectoryError, ServerStartError
from ..fleet import sessions
from ..protocol import envelope
from ..system.headroom import require_descriptors
from ..takeover.registry import Takeover, claim, close_behind_answer, obstacle_to
from ..websocket.frames import HardenedWebSocket, encode_frame
from ..websocket.handshake import accept_headers, query, validate
from ..websocket.keeper import keep, release
from ..websocket.session import Session
from .redaction import redact
from .responses import StartResponse, refuse
from .runtime import Runtime

__all__ = ["serve"]

log = logging.getLogger(__name__)


class _LastAnswer:
    """A body after which the connection is over, whatever the server makes of ``Connection: close``.

    gunicorn drops that header, and would read the frames that an eager client has sent behind its request as requests.
    """

    def __init__(self, body: list[bytes], takeover: Takeover) -> None:
        self._body = body
        self._takeover = takeover

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def __len__(self) -> int:
        return len(self._body)

    def close(self) -> None:
        """Called by the server once the body is sent (PEP 3333)."""
        self._takeover.finish()


def serve(environ: dict[str, Any], start_response: StartResponse, runtime: Runtime) -> Iterable[bytes]:
    """Judges the request and, if it passes, talks until the session ends; returns what the server is to be given.

    The order of judgement: malformed (405, 400, 426), origin and token (403, 401), a server whose sockets cannot be
    had (501), too many sessions (503).
    """
    request = dict(environ)
    # First: uvicorn logs a request as soon as its answer begins.
    redact(environ, start_response)
    try:
        validate(request)
        parameters = query(request)
        frames = parameters.get("frames", runtime.settings.frames)
        if frames not in ("binary", "text"):
            raise Rejected("400 Bad Request", "frames is binary or text")
        try:
            runtime.gate(request).check(request)
        except RuntimeDirectoryError as error:
            raise Rejected("503 Service Unavailable", f"the token cannot be checked: {error}") from error
        takeover = claim(environ)
        obstacle = obstacle_to(takeover, environ)
        if takeover is None or obstacle is not None:
            raise Rejected("501 Not Implemented", obstacle or "")
        _reserve(takeover, runtime.settings.max_sessions)
    except Rejected as rejected:
        log.info("rbkit: refused %s: %s", environ.get("REMOTE_ADDR") or "a client", rejected)
        connection = claim(environ)
        body = refuse(environ, start_response, rejected, close_behind_answer())
        return _LastAnswer(body, connection) if connection is not None and connection.reads_on else body
    try:
        takeover.open(start_response, accept_headers(environ))
        _talk(takeover, environ, runtime, parameters.get("server"), text=frames == "text")
    finally:
        # First, since a client that sees its connection end may be back before the rest is done.
        sessions.release(takeover)
        close_behind_answer()
        takeover.finish()
    return []


def _reserve(takeover: Takeover, most: int) -> None:
    words = f"{most} sessions are open in this worker already (option max_sessions)"
    threads = takeover.threads
    if threads is not None and threads - 1 < most:
        most = threads - 1
        words = (
            f"{most} sessions are open in this worker already, a thread each, and the last of its {threads} "
            "threads is the application's: start the server with more threads"
        )
    if not sessions.reserve(takeover, most):
        raise Rejected("503 Service Unavailable", words, (("Retry-After", "5"),))
    try:
        require_descriptors(takeover.descriptors)
        takeover.make_room()
    except NoRoom as error:
        sessions.release(takeover)
        raise Rejected("503 Service Unavailable", str(error), (("Retry-After", "5"),)) from error


def _notice(count: int) -> bytes:
    return encode_frame(HardenedWebSocket.OPCODE_TEXT, envelope.dropped(count).encode())


def _talk(takeover: Takeover, environ: dict[str, Any], runtime: Runtime, server_id: str | None, *, text: bool) -> None:
    settings = runtime.settings
    session = Session(
        takeover.sock,
        takeover.read,
        takeover.leaving(),
        max_message=settings.max_message,
        backlog=settings.backlog,
        ping_interval=settings.ping_interval,
        # The old browser clients know no such notice.
        notice=None if text else _notice,
    )
    client = environ.get("REMOTE_ADDR") or "a client"
    log.info("rbkit: session opened by %s", client)
    keep(session)
    orderly = False
    try:
        try:
            endpoints = runtime.endpoints(server_id)
        except (NoSuchServer, ServerStartError, RuntimeDirectoryError) as error:
            session.close(1013, str(error) if isinstance(error, NoSuchServer) else f"{NOT_RUNNING}: {error}")
            for _ in session.messages():
                pass  # until the client has answered the close frame
        else:
            with runtime.using(endpoints, session):
                Bridge(session, endpoints.pub, endpoints.req, settings, text=text, keys=endpoints.keys).run()
        orderly = True
    except Exception:  # a boundary: the application and its server must not suffer
        log.exception("rbkit: a session failed")
        session.close(1011, "internal error of the bridge; see the server's log")
        orderly = True
    finally:
        # Not orderly: this greenlet is being killed (the server stops), there is no time to wait.
        if not orderly:
            session.close(1001, "the web server is going away")
        session.finish(wait=orderly)
        release(session)
        # Quoted, since the reason may be the client's words.
        log.info("rbkit: session of %s ended: %s %r", client, session.close_code, session.close_reason)
