"""The web server's own object of a request, found on the stack whatever the environ has become."""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any

from rbkit_websocket.http.redaction import redact
from rbkit_websocket.takeover.registry import claim, close_behind_answer, refusal_of
from rbkit_websocket.takeover.serving import HttpServerRequest, find_serving

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Handler(BaseHTTPRequestHandler):
    """One that has read its request and calls an application, as a server's thread does."""

    def __init__(self, application: Callable[[], Any], *headers: tuple[str, str]) -> None:
        self.application = application
        self.headers = Message()
        for name, value in headers:
            self.headers[name] = value
        self.close_connection = False
        self.requestline = "GET /?token=secret HTTP/1.1"
        self.path = "/?token=secret"
        super().__init__(None, ("127.0.0.1", 1), None)  # type: ignore[arg-type]

    def setup(self) -> None:
        pass

    def handle(self) -> None:
        self.answer = self.application()

    def finish(self) -> None:
        pass


def test_no_server_is_no_server() -> None:
    assert find_serving() is None
    assert close_behind_answer() == ()


def test_the_innermost_server_is_found() -> None:
    inner: list[Handler] = []
    Handler(lambda: inner.append(Handler(find_serving)))
    assert isinstance(inner[0].answer, HttpServerRequest)
    assert inner[0].answer.held is inner[0]


def test_an_upgrade_that_the_application_tries_on_itself_takes_nobodys_connection() -> None:
    environ = {"SERVER_PROTOCOL": "HTTP/1.1", "HTTP_UPGRADE": "websocket", "HTTP_SEC_WEBSOCKET_KEY": KEY}
    handler = Handler(lambda: (claim(environ), close_behind_answer()))
    assert handler.answer == (None, ())
    assert not handler.close_connection
    handler = Handler(close_behind_answer, ("Upgrade", "websocket"))
    assert handler.close_connection


def test_a_request_is_known_by_its_key() -> None:
    serving = Handler(find_serving, ("Sec-WebSocket-Key", KEY)).answer
    assert serving.is_of({"HTTP_SEC_WEBSOCKET_KEY": KEY})
    assert serving.is_of({"HTTP_SEC_WEBSOCKET_KEY": f" {KEY} "})
    assert not serving.is_of({"HTTP_SEC_WEBSOCKET_KEY": "x"})
    assert not serving.is_of({})


def test_a_middleware_is_blamed_only_where_the_server_cannot_be_found() -> None:
    environ = {
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "gunicorn/27.0.1",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        "wsgi.input": object(),
    }
    assert "puts builtins.object in the place of the server's wsgi.input" in refusal_of(None, environ)
    found = Handler(lambda: refusal_of(None, environ), ("Sec-WebSocket-Key", KEY)).answer
    assert found.startswith("this web server does not hand its sockets over")


def test_a_handler_logs_no_token() -> None:
    headers = [("Referer", "http://host/?token=secret")] * 2 + [("Sec-WebSocket-Key", "+token=="), ("X-A", "b")]
    handler = Handler(lambda: redact({}), *headers)
    assert (handler.path, handler.requestline) == ("/?token=***", "GET /?token=*** HTTP/1.1")
    assert handler.headers.items() == [("Referer", "http://host/?token=***")] * 2 + headers[2:]
