"""The upgrade: accepted on any path, refused in plain HTTP, in the order that is promised."""

from __future__ import annotations

from typing import Any

import pytest
from support.rawclient import ACCEPT, RawClient, encode, upgrade_request
from support.servers import TOKEN

from .conftest import Site, target

RFC_HEADERS = {
    "upgrade": "websocket",
    "connection": "upgrade",
    "sec-websocket-accept": ACCEPT,
    "sec-websocket-protocol": "rbkit",
}


@pytest.mark.smoke
def test_the_subprotocol_is_echoed(any_site: Site) -> None:
    with RawClient(any_site.web.port) as client:
        response = client.upgrade(target())
        assert {name: response.headers[name] for name in RFC_HEADERS} | {"connection": "upgrade"} == RFC_HEADERS
        assert response.headers["connection"].lower() == "upgrade"
        head = response.head.lower()
        assert [head.count(name.encode() + b":") for name in RFC_HEADERS] == [1, 1, 1, 1]
        assert b"content-length" not in head
        assert b"transfer-encoding" not in head
        assert client.command("ping") == b"ok"
        assert client.close(1000).close_code == 1000


@pytest.mark.parametrize("path", ["/", "/hello", "/ws", "/no/such/page", "/__rbkit__", "/%C3%A9"])
def test_any_path_will_do(site: Site, path: str) -> None:
    with site.raw(path) as client:
        assert client.command("ping") == b"ok"
    assert b"hello" in site.web.get("/hello")


@pytest.mark.parametrize(
    "options",
    [
        {"protocols": "chat, rbkit"},
        {"protocols": "rbkit,chat"},
        {"protocols": "chat", "extra": (("Sec-WebSocket-Protocol", "rbkit"),)},
        {"protocols": "rbkit", "extra": (("Sec-WebSocket-Protocol", "chat"), ("sec-websocket-protocol", "x"))},
        {"Upgrade": "WebSocket", "Connection": "keep-alive, Upgrade"},
        {"extra": (("Sec-WebSocket-Extensions", "permessage-deflate"),)},
    ],
    ids=str,
)
def test_the_subprotocol_in_any_position(site: Site, options: dict[str, Any]) -> None:
    with RawClient(site.web.port) as client:
        response = client.upgrade(target(), **options)
        assert response.headers["sec-websocket-protocol"] == "rbkit"
        assert "sec-websocket-extensions" not in response.headers
        assert client.command("ping") == b"ok"


@pytest.mark.parametrize(
    "options",
    [
        {"target": target()},
        {"target": "/", "Authorization": f"Bearer {TOKEN}"},
        {"target": target(), "Origin": "http://127.0.0.1:80"},
        {"target": target(), "Origin": "http://127.0.0.1"},
    ],
    ids=str,
)
def test_who_gets_in(site: Site, options: dict[str, Any]) -> None:
    with RawClient(site.web.port) as client:
        assert client.request(upgrade_request(**options)).status == 101


REFUSALS: dict[str, tuple[dict[str, Any], int, dict[str, str]]] = {
    "POST": ({"method": "POST"}, 405, {"allow": "GET"}),
    "PUT": ({"method": "PUT"}, 405, {"allow": "GET"}),
    "HTTP/1.0": ({"version": "HTTP/1.0"}, 400, {}),
    "no Connection": ({"drop": ("Connection",)}, 400, {}),
    "no key": ({"drop": ("Sec-WebSocket-Key",)}, 400, {}),
    "short key": ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400, {}),
    "no base64": ({"Sec_WebSocket_Key": "?" * 24}, 400, {}),
    "version 8": ({"Sec_WebSocket_Version": "8"}, 426, {"sec-websocket-version": "13"}),
    "no version": ({"drop": ("Sec-WebSocket-Version",)}, 426, {"sec-websocket-version": "13"}),
    "no token": ({"target": "/"}, 401, {"www-authenticate": 'Bearer realm="rbkit"'}),
    "wrong token": ({"target": "/?token=wrong"}, 401, {}),
    "wrong header": ({"target": "/", "Authorization": "Bearer wrong"}, 401, {}),
    "foreign page": ({"Origin": "https://evil.example"}, 403, {}),
    "null origin": ({"Origin": "null"}, 403, {}),
    "frames": ({"target": target(frames="base64")}, 400, {}),
    "malformed before token": ({"target": "/", "Sec_WebSocket_Version": "8"}, 426, {}),
    "method before all": ({"target": "/", "method": "POST", "drop": ("Sec-WebSocket-Key",)}, 405, {}),
    "origin before token": ({"target": "/", "Origin": "https://evil.example"}, 403, {}),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_are_plain_http(site: Site, name: str) -> None:
    options, status, headers = REFUSALS[name]
    with RawClient(site.web.port) as client:
        response = client.request(upgrade_request(**{"target": target(), **options}))
        assert response.status == status, response
        assert {key: response.headers.get(key) for key in headers} == headers
        assert response.body.startswith(b"rbkit: ")
        assert response.headers["content-type"].startswith("text/plain")
        assert TOKEN.encode() not in response.body
    assert site.rbkit.commands == []


SMUGGLED = b"GET /leak?count=1 HTTP/1.1\r\nHost: x\r\n\r\n"


def leaked(site: Site) -> bytes:
    """What a request that is smuggled in would change."""
    return site.web.get("/leak", count="0")


@pytest.mark.parametrize(
    "request_bytes",
    [
        upgrade_request(target(), Content_Length=str(len(SMUGGLED))),
        upgrade_request(target(), Transfer_Encoding="chunked"),
        upgrade_request("/?token=wrong"),
        upgrade_request(target(), Sec_WebSocket_Version="8"),
    ],
    ids=["Content-Length", "chunked", "401", "426"],
)
def test_what_follows_a_refused_upgrade_is_no_request(site: Site, request_bytes: bytes) -> None:
    before = leaked(site)
    with RawClient(site.web.port) as client:
        assert client.request(request_bytes + SMUGGLED).status in (400, 401, 426)
        # A server that has a body to read first may say that it is none.
        assert client.read_to_end()[:12] in (b"", b"HTTP/1.1 400")
    assert leaked(site) == before


def test_frames_pipelined_behind_the_request_are_not_lost(site: Site) -> None:
    with RawClient(site.web.port) as client:
        frames = encode(1, b"standin echo first") + encode(1, b"standin echo second")
        client.upgrade(target(), behind=frames)
        assert [client.answer(), client.answer()] == [b"first", b"second"]
        assert client.command("standin echo third") == b"third"


def test_a_frame_torn_behind_the_request_is_put_together(site: Site) -> None:
    frame = encode(1, b"standin echo " + b"x" * 20_000)
    with RawClient(site.web.port) as client:
        client.upgrade(target(), behind=frame[:9000])
        client.send(frame[9000:])
        assert client.answer() == b"x" * 20_000


def test_a_request_that_comes_byte_by_byte(site: Site) -> None:
    with RawClient(site.web.port) as client:
        for byte in upgrade_request(target()) + encode(1, b"ping"):
            client.send(bytes([byte]))
        assert client.response().status == 101
        assert client.answer() == b"ok"


def test_an_upgrade_on_a_connection_kept_alive(site: Site) -> None:
    with RawClient(site.web.port) as client:
        for _ in range(2):
            assert client.request(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
        client.upgrade(target())
        assert client.command("ping") == b"ok"
        assert client.close(1000).close_code == 1000
