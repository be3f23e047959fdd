"""Servers whose sockets cannot be had: 501 that says what to use, and everything else as ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.rawclient import RawClient, upgrade_request
from support.servers import UNSUPPORTED, WebServer

from .conftest import target


@pytest.fixture(scope="module", params=UNSUPPORTED)
def unsupported_name(request: pytest.FixtureRequest) -> str:
    """Each server that is refused."""
    return request.param


@pytest.fixture(scope="module")
def unsupported(unsupported_name: str) -> Iterator[WebServer]:
    with UNSUPPORTED[unsupported_name]() as web:
        yield web


def test_the_refusal_says_what_to_use(unsupported: WebServer) -> None:
    with RawClient(unsupported.port) as client:
        response = client.request(upgrade_request(target()))
        assert response.status == 501
        for name in ("gunicorn -k gevent", "gevent_pywsgi", "GeventWebSocketWorker", "WSGIServer", "WebSocketHandler"):
            assert name in response.body.decode()
    assert b"hello" in unsupported.get("/hello")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (upgrade_request("/"), 401),
        (upgrade_request(target(), Origin="https://evil.example"), 403),
        (upgrade_request(target(), Sec_WebSocket_Version="8"), 426),
        (upgrade_request(target(), Sec_WebSocket_Key="x"), 400),
        (upgrade_request(target(), method="POST"), 405),
    ],
    ids=["401", "403", "426", "400", "405"],
)
def test_it_is_judged_after_everything_else(unsupported: WebServer, request_bytes: bytes, status: int) -> None:
    with RawClient(unsupported.port) as client:
        assert client.request(request_bytes).status == status


def test_the_listing_works_all_the_same(unsupported: WebServer) -> None:
    assert b'"servers"' in unsupported.get(
        "/__rbkit__/servers", headers={"Authorization": f"Bearer {unsupported.token}"}
    )
