"""HEAD gets no body, nor does a status that has none.

On a kept connection a proxy would take it for the next answer.
"""

from __future__ import annotations

import re
import socket

import pytest
from support.rawclient import RawClient, upgrade_request
from support.servers import SELF_REFUSING, TOKEN, WebServer

from rbkit_websocket.http.dashboard import bundle
from rbkit_websocket.http.pages import pages

from .conftest import target

NEXT = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def request(method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def head_alone(web: WebServer, data: bytes, statuses: tuple[int, ...]) -> None:
    """Sends a request whose answer has no body, and another one behind its answer; both have to be read well."""
    with RawClient(web.port) as client:
        client.send(data)
        head = client.read_until(b"\r\n\r\n")
        assert int(head.split()[1]) in statuses, head
        try:
            client.send(NEXT)
            client.socket.shutdown(socket.SHUT_WR)  # werkzeug waits for it before it closes
        except OSError:
            return  # closed, as it has said
        rest = client.read_to_end()
    # The next answer at once, or the end: servers that close behind each answer need not tell where it ends.
    assert re.match(rb"HTTP/1\.[01] 200 ", rest) or rest == b"", (head, rest)


def test_every_page_without_its_body(any_server: tuple[str, WebServer]) -> None:
    _, web = any_server
    for path in sorted(pages("/__rbkit__")):
        for headers in ((), (f"Authorization: Bearer {TOKEN}",)):
            head_alone(web, request("HEAD", path, *headers), (200, 307, 401, 405))


def test_a_page_that_has_not_changed(any_server: tuple[str, WebServer], bundle_files: None) -> None:
    _, web = any_server
    etag = bundle.asset(bundle.INDEX).etag
    for method in ("GET", "HEAD"):
        head_alone(web, request(method, "/__rbkit__/", f"If-None-Match: {etag}"), (304,))


@pytest.fixture
def bundle_files() -> None:
    if not bundle.names():
        pytest.skip("the dashboard is not built")


def test_an_upgrade_by_head(any_server: tuple[str, WebServer]) -> None:
    name, web = any_server
    if name in SELF_REFUSING:
        pytest.skip("answers upgrades by itself")
    for path in ("/", "/__rbkit__/servers", "/__rbkit__/login"):
        head_alone(web, upgrade_request(target(path), method="HEAD"), (405,))
