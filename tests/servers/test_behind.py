"""What stands behind an upgrade that was refused, or behind a session that ended, is no request: on every server.

A proxy that takes the upgrade for granted passes on whatever follows it, past all of its own checks.
"""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest
from support.rawclient import CLOSE, TEXT, RawClient, close_payload, encode, upgrade_request
from support.servers import ALL, WebServer

from .conftest import Fleet, Site, in_use, target

SMUGGLED = b"GET /leak?count=1 HTTP/1.1\r\nHost: x\r\n\r\n"

BODIES: dict[str, tuple[dict[str, str], bytes]] = {
    "none": ({}, b""),
    "length": ({"Content_Length": "5"}, b"hello"),
    "the request as the body": ({"Content_Length": str(len(SMUGGLED))}, SMUGGLED),
    "a length that is never sent": ({"Content_Length": "100000"}, b""),
    "no chunks": ({"Transfer_Encoding": "chunked"}, b"0\r\n\r\n"),
    "chunks and trailers": ({"Transfer_Encoding": "chunked"}, b"5;a=b\r\nhello\r\n0\r\nX-A: b\r\n\r\n"),
    "broken chunks": ({"Transfer_Encoding": "chunked"}, b"nothing of the kind\r\n"),
}
"""Headers, and what is sent between them and the request that is smuggled in."""

REFUSED: dict[str, dict[str, Any]] = {
    "key": {"Sec_WebSocket_Key": "x"},
    "two keys": {"extra": (("Sec-WebSocket-Key", "x"),)},
    "HTTP/1.0": {"version": "HTTP/1.0", "Connection": "keep-alive, Upgrade"},
    "kept": {"Sec_WebSocket_Key": "x", "Connection": "keep-alive, Upgrade"},
    "token": {"target": "/"},
    "origin": {"Origin": "https://evil.example"},
    "method": {"method": "POST"},
    "HEAD": {"method": "HEAD"},
    "version": {"Sec_WebSocket_Version": "8"},
    "body or server": {},
}


def leaked(web: WebServer) -> bytes:
    """What a request that is smuggled in changes."""
    return web.get("/leak", count="0")


def answers(client: RawClient) -> bytes:
    """All that the server has to say to a client that is done."""
    try:
        client.socket.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the server was faster
    return client.read_to_end()


@pytest.mark.parametrize("body", BODIES)
def test_nothing_behind_a_refused_upgrade_runs(any_server: tuple[str, WebServer], body: str) -> None:
    name, web = any_server
    headers, sent = BODIES[body]
    before = leaked(web)
    for refused, options in REFUSED.items():
        if (name in ALL and refused == "body or server" and body == "none") or (refused == "HEAD" and headers):
            continue  # accepted; and a HEAD with a body is none to some parsers
        with RawClient(web.port) as client:
            client.send(upgrade_request(**{"target": target(), **options, **headers}) + sent + SMUGGLED)
            statuses = re.findall(rb"^HTTP/1\.\d (\d+)", answers(client), re.MULTILINE)
        # A server that has a body to read first may say that it is none.
        assert statuses[1:] in ([], [b"400"]), refused
    assert leaked(web) == before


ROUTER = ("--http-keepalive=1", "--add-header", "Connection: Keep-Alive")


def test_nothing_behind_a_refused_upgrade_runs_where_uwsgis_router_keeps_connections() -> None:
    with ALL["uwsgi-http"](options=ROUTER) as web:
        with RawClient(web.port) as client:
            kept = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
            assert [client.request(kept).status for _ in range(2)] == [200, 200]
        before = leaked(web)
        with RawClient(web.port) as client:
            assert client.request(upgrade_request("/")).status == 401
            try:
                client.send(SMUGGLED)
            except OSError:
                pass  # closed already
            assert answers(client) == b""
        assert leaked(web) == before


ENDINGS = {
    "close": encode(CLOSE, close_payload(1000)),
    "violation": encode(TEXT, b"x", masked=False),
    "too big": encode(TEXT, b"", length=300_000_000),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_behind_a_session_runs(any_server: tuple[str, WebServer], ending: str) -> None:
    name, web = any_server
    if name not in ALL:
        pytest.skip("no sessions there")
    before = leaked(web)
    for later in (False, True):
        with RawClient(web.port) as client:
            client.upgrade(target())
            client.send(ENDINGS[ending] + (b"" if later else SMUGGLED * 50))
            client.closing()
            if later:
                try:
                    client.send(SMUGGLED)
                except OSError:
                    pass  # the connection is gone already
            assert answers(client) == b""
    assert leaked(web) == before


@pytest.fixture(scope="session", params=["gunicorn-gevent", "pywsgi", "gunicorn-gthread", "cheroot", "uwsgi"])
def small_site(request: pytest.FixtureRequest, fleet: Fleet) -> Site:
    return fleet.site(request.param, RBKIT_MAX_SESSIONS="1")


def test_nothing_behind_a_503_runs(small_site: Site) -> None:
    with in_use(small_site) as site, site.raw() as one:
        assert one.command("ping") == b"ok"
        before = leaked(site.web)
        with RawClient(site.web.port) as client:
            client.send(upgrade_request(target()) + SMUGGLED)
            assert client.response().status == 503
            assert answers(client) == b""
        assert leaked(site.web) == before
        assert one.command("ping") == b"ok"
