"""The opening handshake as RFC 6455 section 4.2 wants it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from rbkit_websocket.errors import Refused
from rbkit_websocket.websocket.handshake import accept_headers, is_ours, query, validate

GOOD = {
    "REQUEST_METHOD": "GET",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "shop.example",
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_PROTOCOL": "rbkit",
    "QUERY_STRING": "",
}


def environ(**changes: Any) -> dict[str, Any]:
    """A good request's environ with some values replaced, or removed with None."""
    return {key: value for key, value in {**GOOD, **changes}.items() if value is not None}


@pytest.mark.parametrize("protocols", ["rbkit", "chat, rbkit", "rbkit,chat", "a,b ,\trbkit\t, c", ",,rbkit"])
def test_rbkit_anywhere_in_the_list_is_ours(protocols: str) -> None:
    assert is_ours(environ(HTTP_SEC_WEBSOCKET_PROTOCOL=protocols))


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "WEBSOCKET", "h2c, websocket"])
def test_the_upgrade_header_is_read_without_case(upgrade: str) -> None:
    assert is_ours(environ(HTTP_UPGRADE=upgrade))


@pytest.mark.parametrize(
    "changes",
    [
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": None},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": ""},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "chat"},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "rbkit2"},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "x-rbkit, my rbkit"},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "RBKIT"},
        {"HTTP_UPGRADE": None},
        {"HTTP_UPGRADE": "h2c"},
        {"HTTP_UPGRADE": "websocket2"},
    ],
    ids=str,
)
def test_the_rest_is_the_applications(changes: dict[str, Any]) -> None:
    assert not is_ours(environ(**changes))


@pytest.mark.smoke
def test_the_answer_of_the_rfcs_example() -> None:
    headers = dict(accept_headers(environ()))
    assert headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert (headers["Upgrade"], headers["Connection"], headers["Sec-WebSocket-Protocol"]) == (
        "websocket",
        "Upgrade",
        "rbkit",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"HTTP_CONNECTION": "keep-alive, Upgrade"},
        {"HTTP_CONNECTION": "UPGRADE"},
        {"HTTP_SEC_WEBSOCKET_VERSION": " 13 "},
        {"HTTP_SEC_WEBSOCKET_KEY": " dGhlIHNhbXBsZSBub25jZQ== "},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "0"},
    ],
    ids=str,
)
def test_good_requests(changes: dict[str, Any]) -> None:
    validate(environ(**changes))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"REQUEST_METHOD": "POST"}, 405),
        ({"REQUEST_METHOD": "HEAD"}, 405),
        ({"REQUEST_METHOD": "get"}, 405),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 400),
        ({"HTTP_HOST": None}, 400),
        ({"HTTP_HOST": ""}, 400),
        ({"HTTP_CONNECTION": None}, 400),
        ({"HTTP_CONNECTION": "keep-alive"}, 400),
        ({"HTTP_CONNECTION": "no-upgrade"}, 400),
        ({"CONTENT_LENGTH": "5"}, 400),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": None}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": ""}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": "not base64!"}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": base64.b64encode(b"15 bytes only..").decode()}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": base64.b64encode(b"seventeen bytes!!").decode()}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==,dGhlIHNhbXBsZSBub25jZQ=="}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==\xe9"}, 400),
        ({"HTTP_SEC_WEBSOCKET_VERSION": None}, 426),
        ({"HTTP_SEC_WEBSOCKET_VERSION": ""}, 426),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "8"}, 426),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "13, 8"}, 426),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "013"}, 426),
    ],
    ids=str,
)
def test_malformed_requests(changes: dict[str, Any], status: int) -> None:
    with pytest.raises(Refused) as caught:
        validate(environ(**changes))
    refusal = caught.value
    assert int(refusal.status[:3]) == status
    assert refusal.message
    headers = dict(refusal.headers)
    assert headers.get("Allow") == ("GET" if status == 405 else None)
    assert headers.get("Sec-WebSocket-Version") == ("13" if status == 426 else None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("token=abc", {"token": "abc"}),
        ("token=a%2Bb&token=c%20d&x=", {"token": "c d", "x": ""}),
        ("token=%ff", {"token": "\ufffd"}),
        ("flag", {"flag": ""}),
    ],
)
def test_query(text: str, expected: dict[str, str]) -> None:
    assert query(environ(QUERY_STRING=text)) == expected
    assert query(environ(QUERY_STRING=None)) == {}


def test_a_flood_of_query_parameters_is_refused() -> None:
    with pytest.raises(Refused, match="400"):
        query(environ(QUERY_STRING="a=1&" * 1000))
