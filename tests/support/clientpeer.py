"""A server for the client to talk to, independent of this package's own: the library ``websockets`` in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgpack
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

Handler = Callable[[ServerConnection], None]


@dataclass
class Peer:
    """A running server: its address and the upgrade requests that it has seen."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"


@contextmanager
def peer(
    handler: Handler,
    *,
    refuse: tuple[HTTPStatus, str] | None = None,
    headers: dict[str, str] | None = None,
    subprotocol: bool = True,
    **options: Any,
) -> Iterator[Peer]:
    """Serves each connection with ``handler``, or refuses all of them with a status and a body."""
    running = Peer()
    handlers: list[threading.Thread] = []

    def handle(connection: ServerConnection) -> None:
        handlers.append(threading.current_thread())
        handler(connection)

    def process_request(connection: ServerConnection, request: Request) -> Response | None:
        running.requests.append(request)
        if refuse is None:
            return None
        response = connection.respond(*refuse)
        response.headers.update(headers or {})
        return response

    def select_subprotocol(connection: ServerConnection, offered: Any) -> Any:
        return "rbkit" if subprotocol and "rbkit" in offered else None

    server = serve(
        handle,
        "127.0.0.1",
        0,
        process_request=process_request,
        select_subprotocol=select_subprotocol,
        compression=None,
        **options,
    )
    running.port = server.socket.getsockname()[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        for handling in handlers:
            handling.join(10)


def collection(counter: int, *events: dict[int, Any]) -> bytes:
    """A publication as it travels in a binary frame."""
    return b"1" + msgpack.packb({0: 7, 1: 1000.0, 9: counter, 2: list(events)})


def answer(**fields: Any) -> bytes:
    """The answer to an extension command as it travels in a binary frame."""
    return b"0" + msgpack.packb(fields)


def ok_to_everything(connection: ServerConnection) -> None:
    """Answers ``ok`` to every command, as an old server does."""
    for _ in connection:
        connection.send(b"0ok")
