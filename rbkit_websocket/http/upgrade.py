"""Upgrade requests that name ``rbkit``: judged, and served to the end of the session."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..bridge import Bridge
from ..bridge.command_queue import NOT_RUNNING
from ..errors import NoRoom, NoSuchServer, Refused, RuntimeDirectoryError, ServerStartError
from ..fleet import sessions
from ..protocol import envelope
from ..system import eventloop  # noqa: F401 - it is here once this is: import_gevent() reads no file any more
from ..system.headroom import require_descriptors
from ..takeover.registry import Takeover, claim, close_behind_answer, refusal_of
from ..websocket.frames import HardenedWebSocket, encode_frame
from ..websocket.handshake import accept_headers, query, validate
from ..websocket.keeper import let_go, look_after
from ..websocket.session import Session
from .redaction import redact
from .responses import StartResponse, refuse
from .runtime import Runtime

__all__ = ["AcceptedUpgrade", "RefusedUpgrade", "judge", "serve_upgrade"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AcceptedUpgrade:
    """An upgrade request that becomes a session; its place among the sessions is taken.

    Attributes:
        takeover: of the connection, not begun.
        text: whether frames are text, for old browser clients.
        server: the id of the server asked for; None: the worker's own.
        headers: of the 101.
        client: its address, for the log.
    """

    takeover: Takeover
    text: bool
    server: str | None
    headers: list[tuple[str, str]]
    client: str


@dataclass(frozen=True)
class RefusedUpgrade:
    """An upgrade request that is refused.

    Attributes:
        refusal: status and words.
        takeover: of the connection, if there is one: under some servers it has to end the connection.
        client: its address, for the log.
    """

    refusal: Refused
    takeover: Takeover | None
    client: str


class _LastAnswer:
    """A body after which the connection is over, even if the server ignores ``Connection: close``.

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


def serve_upgrade(environ: dict[str, Any], start_response: StartResponse, runtime: Runtime) -> Iterable[bytes]:
    """Judges the request and, if it passes, serves its session to the end; returns the body for the server."""
    request = dict(environ)
    # First: uvicorn logs a request as soon as its answer begins.
    redact(environ, start_response)
    judged = judge(request, claim(environ), runtime)
    if isinstance(judged, RefusedUpgrade):
        log.info("rbkit: refused %s: %s", judged.client, judged.refusal)
        body = refuse(environ, start_response, judged.refusal, close_behind_answer())
        takeover = judged.takeover
        return _LastAnswer(body, takeover) if takeover is not None and takeover.reads_on else body
    try:
        judged.takeover.open(start_response, judged.headers)
        _talk(judged, runtime)
    finally:
        # First, since a client that sees its connection end may be back before the rest is done.
        sessions.release(judged.takeover)
        close_behind_answer()
        judged.takeover.finish()
    return []


def judge(request: dict[str, Any], takeover: Takeover | None, runtime: Runtime) -> AcceptedUpgrade | RefusedUpgrade:
    """Judges an upgrade request.

    The order of judgement: malformed (405, 400, 426), origin and token (403, 401), a server that hands no socket over
    (501), too many sessions or no room for one (503).

    Args:
        request: the environ as the client sent it, the token included.
        takeover: of its connection; None when the server hands none over.
        runtime: of the application.
    """
    client = request.get("REMOTE_ADDR") or "a client"
    try:
        validate(request)
        parameters = query(request)
        frames = parameters.get("frames", runtime.settings.frames)
        if frames not in ("binary", "text"):
            raise Refused("400 Bad Request", "frames is binary or text")
        try:
            runtime.access.gate(request).check(request)
        except RuntimeDirectoryError as error:
            raise Refused("503 Service Unavailable", f"the token cannot be checked: {error}") from error
        reason = refusal_of(takeover, request)
        if takeover is None or reason is not None:
            raise Refused("501 Not Implemented", reason or "")
        _reserve(takeover, runtime.settings.max_sessions)
    except Refused as refusal:
        return RefusedUpgrade(refusal, takeover, client)
    return AcceptedUpgrade(takeover, frames == "text", parameters.get("server"), accept_headers(request), client)


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
        raise Refused("503 Service Unavailable", words, (("Retry-After", "5"),))
    try:
        require_descriptors(takeover.descriptors)
        takeover.make_room()
    except NoRoom as error:
        sessions.release(takeover)
        raise Refused("503 Service Unavailable", str(error), (("Retry-After", "5"),)) from error


def _notice(count: int) -> bytes:
    return encode_frame(HardenedWebSocket.OPCODE_TEXT, envelope.dropped(count).encode())


def _talk(accepted: AcceptedUpgrade, runtime: Runtime) -> None:
    settings, takeover, client = runtime.settings, accepted.takeover, accepted.client
    session = Session(
        takeover.sock,
        takeover.read,
        takeover.leaving(),
        max_message=settings.max_message,
        backlog=settings.backlog,
        ping_interval=settings.ping_interval,
        # Old browser clients do not know this notice.
        notice=None if accepted.text else _notice,
    )
    log.info("rbkit: session opened by %s", client)
    look_after(session)
    orderly = False
    try:
        try:
            servers = runtime.servers
            endpoints = servers.find(accepted.server) if accepted.server else servers.own()
        except (NoSuchServer, ServerStartError, RuntimeDirectoryError) as error:
            session.close(1013, str(error) if isinstance(error, NoSuchServer) else f"{NOT_RUNNING}: {error}")
            for _ in session.messages():
                pass  # until the client has answered the close frame
        else:
            with servers.using(endpoints, session):
                Bridge(session, endpoints.pub, endpoints.req, settings, text=accepted.text, keys=endpoints.keys).run()
        orderly = True
    except Exception:  # a boundary: the application and its server must not suffer
        log.exception("rbkit: a session failed")
        session.close(1011, "internal error of the bridge; see the server's log")
        orderly = True
    finally:
        # Killed: the server stops, and there is no time for an orderly end.
        if not orderly:
            session.close(1001, "the web server is going away")
        session.finish(wait=orderly)
        let_go(session)
        # Quoted, since the reason may be the client's words.
        log.info("rbkit: session of %s ended: %s %r", client, session.close_code, session.close_reason)
