"""Servers whose sockets cannot be had: 501 that says what to use, and everything else as ever."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from support.rawclient import RawClient, upgrade_request
from support.servers import SELF_REFUSING, UNSUPPORTED, WebServer
from support.waiting import wait_until

from rbkit_websocket.takeover.registry import refusal_of

from .conftest import target


@pytest.fixture(scope="module", params=UNSUPPORTED)
def unsupported_name(request: pytest.FixtureRequest) -> str:
    """Each server that is refused."""
    return request.param


@pytest.fixture(scope="module")
def unsupported(unsupported_name: str) -> Iterator[WebServer]:
    with UNSUPPORTED[unsupported_name]() as web:
        yield web


REASONS = {
    "gunicorn-sync": ("gunicorn's sync worker serves one request at a time", "--threads 8"),
    "gunicorn-gthread-1": ("the only worker thread", "--threads 2 at least"),
    "wsgiref": ("one thread for everything", "ThreadingMixIn"),
    "flask-run-1": ("one thread for everything", "--with-threads"),
    "runserver-1": ("one thread for everything", "without --nothreading"),
    "cheroot-1": ("the only worker thread", "numthreads=2 at least"),
    "uwsgi-plain": ("only where it runs gevent", "--gevent 100"),
    "uwsgi-http-alone": ("http router", "--http-websockets"),
    "waitress": ("waitress keeps its sockets to itself", "gunicorn -k gevent module:app"),
    "bjoern": ("bjoern keeps its sockets to itself", "gunicorn -k gevent module:app"),
    "uvicorn": ("ASGI servers", "gunicorn -k gevent module:app"),
    "a2wsgi": ("ASGI servers", "gunicorn -k gevent module:app"),
}
"""What the refusal has to say on each: why, and what to do."""


def test_the_refusal_says_why_and_what_to_use(unsupported: WebServer, unsupported_name: str) -> None:
    with RawClient(unsupported.port) as client:
        response = client.request(upgrade_request(target()))
        assert response.status == 501
        for words in REASONS[unsupported_name]:
            assert words in response.body.decode()
    assert b"hello" in unsupported.get("/hello")


def test_where_the_server_says_nothing_the_refusal_names_those_that_work() -> None:
    text = refusal_of(None, {"SERVER_PROTOCOL": "HTTP/1.1"})
    assert text.startswith("this web server does not hand its sockets over to rbkit_websocket. ")
    for name in ("gunicorn -k gevent", "gevent_pywsgi", "GeventWebSocketWorker", "WSGIServer", "--threads 2"):
        assert name in text


def test_it_is_judged_after_everything_else(unsupported: WebServer) -> None:
    for request_bytes, status in (
        (upgrade_request("/"), 401),
        (upgrade_request(target(), Origin="https://evil.example"), 403),
        (upgrade_request(target(), Sec_WebSocket_Version="8"), 426),
        (upgrade_request(target(), Sec_WebSocket_Key="x"), 400),
        (upgrade_request(target(), method="POST"), 405),
    ):
        with RawClient(unsupported.port) as client:
            assert client.request(request_bytes).status == status


@pytest.mark.parametrize("server", SELF_REFUSING)
def test_servers_with_websockets_of_their_own_refuse_before_the_application_is_asked(server: str) -> None:
    with SELF_REFUSING[server]() as web:
        with RawClient(web.port) as client:
            assert client.request(upgrade_request(target())).status == 403
        assert b"hello" in web.get("/hello")
        assert b'"servers"' in web.get("/__rbkit__/servers", headers={"Authorization": f"Bearer {web.token}"})


def test_the_listing_works_all_the_same_and_tells_browsers_why(unsupported: WebServer, unsupported_name: str) -> None:
    page = unsupported.get("/__rbkit__/servers", headers={"Authorization": f"Bearer {unsupported.token}"})
    listing = json.loads(page)
    assert len(listing["servers"]) == 1
    for words in REASONS[unsupported_name]:
        assert words in listing["obstacle"]


def test_the_address_is_printed_as_one_for_another_server(unsupported_name: str) -> None:
    with UNSUPPORTED[unsupported_name](env={"RBKIT_TOKEN": None}) as web:
        assert b"hello" in web.get("/hello")
        wait_until(lambda: "rbkit: the token stays the same; it is in" in web.log(), "the words about the token")
        assert "watch this application at" not in web.log()
        (line,) = (line for line in web.log().splitlines() if "cannot be watched here: " in line)
        for words in REASONS[unsupported_name]:
            assert words in line
        assert re.search(r"rbkit: under a server that can: \S.*/__rbkit__/#token=\S+\n", web.log())
