"""Who gets in: token, origin, authorize."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rbkit_websocket.errors import Refused
from rbkit_websocket.http.gate import Gate

TOKEN = "open-sesame+&%="


def environ(**changes: str) -> dict[str, Any]:
    return {"HTTP_HOST": "shop.example:8000", "QUERY_STRING": "", "PATH_INFO": "/", **changes}


def status(gate: Gate, **changes: str) -> int:
    """200, or the status with which a request is refused."""
    try:
        gate.check(environ(**changes))
    except Refused as refusal:
        return int(refusal.status[:3])
    return 200


@pytest.fixture
def gate() -> Gate:
    return Gate("shop", TOKEN)


# Token


@pytest.mark.smoke
@pytest.mark.parametrize(
    "changes",
    [
        {"QUERY_STRING": "token=open-sesame%2B%26%25%3D"},
        {"QUERY_STRING": "frames=text&token=open-sesame%2B%26%25%3D"},
        {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"},
        {"HTTP_AUTHORIZATION": f"bearer  {TOKEN} "},
        {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}", "QUERY_STRING": "token=wrong"},
    ],
    ids=str,
)
def test_the_token_comes_as_query_or_header(gate: Gate, changes: dict[str, str]) -> None:
    assert status(gate, **changes) == 200


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"QUERY_STRING": "token="},
        {"QUERY_STRING": "token=open-sesame"},
        {"QUERY_STRING": "token=%ff%fe"},
        {"QUERY_STRING": "Token=open-sesame%2B%26%25%3D"},
        {"HTTP_AUTHORIZATION": f"Basic {TOKEN}"},
        {"HTTP_AUTHORIZATION": TOKEN},
        {"HTTP_AUTHORIZATION": "Bearer"},
        {"HTTP_AUTHORIZATION": "Bearer \xe9\xff"},
        {"HTTP_COOKIE": f"rbkit={TOKEN}"},
    ],
    ids=str,
)
def test_without_the_token_it_is_401(gate: Gate, changes: dict[str, str]) -> None:
    assert status(gate, **changes) == 401


def test_a_refusal_says_how_to_do_better_and_not_what_the_token_is(gate: Gate) -> None:
    with pytest.raises(Refused) as caught:
        gate.check(environ())
    assert dict(caught.value.headers)["WWW-Authenticate"].startswith("Bearer")
    assert "?token=" in caught.value.message
    assert TOKEN not in str(caught.value)


def test_the_query_in_a_hostile_shape_is_400(gate: Gate) -> None:
    assert status(gate, QUERY_STRING="a=1&" * 1000) == 400


# Cookie


def cookie(gate: Gate) -> str:
    return f"{gate.cookie_name}={gate.cookie_value}"


def test_the_cookie_opens_and_is_not_the_token(gate: Gate) -> None:
    assert status(gate, HTTP_COOKIE=cookie(gate)) == 200
    assert TOKEN not in cookie(gate)
    assert status(gate, HTTP_COOKIE=f"{gate.cookie_name}={TOKEN}") == 401
    assert status(gate, HTTP_COOKIE=f"{gate.cookie_name}=") == 401
    assert status(gate, QUERY_STRING=f"token={gate.cookie_value}") == 401


def test_cookies_of_two_applications_stand_side_by_side(gate: Gate) -> None:
    other = Gate("other", TOKEN + "2")
    both = f"{cookie(other)}; {cookie(gate)}"
    assert status(gate, HTTP_COOKIE=both) == status(other, HTTP_COOKIE=both) == 200
    assert status(other, HTTP_COOKIE=cookie(gate)) == 401


@pytest.mark.parametrize("before", ["session=abc; theme=dark", "path:x=1"])
def test_cookies_of_others_do_not_hide_ours(gate: Gate, before: str) -> None:
    assert status(gate, HTTP_COOKIE=f"{before}; {cookie(gate)}") == 200
    assert status(gate, HTTP_COOKIE=f"{cookie(gate)}; {before}") == 200


@pytest.mark.parametrize(
    "before", ['prefs={"a": 1, "b": [2]}', "name=J\xfcrgen", "a[b]=c", "bare", "=x", ";;", 'q="unfinished']
)
def test_odd_cookies_of_others_do_not_hide_ours(gate: Gate, before: str) -> None:
    assert status(gate, HTTP_COOKIE=f"{before}; {cookie(gate)}") == 200
    assert status(gate, HTTP_COOKIE=f"{cookie(gate)}; {before}") == 200


@pytest.mark.parametrize("text", ["", ";", "=", "\x00", "rbkit_=;" * 5000, "a" * 100_000])
def test_hostile_cookies_open_nothing(gate: Gate, text: str) -> None:
    assert status(gate, HTTP_COOKIE=text) == 401


# Origin

TOKEN_HEADER = {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("shop.example:8000", "http://shop.example:8000"),
        ("shop.example:8000", "https://shop.example:8000"),
        ("shop.example", "http://shop.example"),
        ("shop.example", "https://shop.example"),
        ("shop.example:443", "https://shop.example"),
        ("shop.example:80", "http://shop.example"),
        ("Shop.Example", "https://shop.example"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_the_hosts_own_pages_may_connect(gate: Gate, host: str, origin: str) -> None:
    assert status(gate, HTTP_HOST=host, HTTP_ORIGIN=origin, **TOKEN_HEADER) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example:8000",
        "http://shop.example",
        "http://shop.example:8001",
        "http://shop.example:8000.evil.example",
        "http://shop.example:8000@evil.example",
        "http://shop.example.evil.example:8000",
        "null",
        "",
        "http://",
        "http://shop.example:port",
        "http://[::1",
        "file://",
        "\xff",
    ],
)
def test_foreign_pages_are_refused_even_with_the_token(gate: Gate, origin: str) -> None:
    assert status(gate, HTTP_ORIGIN=origin, **TOKEN_HEADER) == 403


def test_the_origin_is_judged_before_the_token(gate: Gate) -> None:
    assert status(gate, HTTP_ORIGIN="http://evil.example") == 403


@pytest.mark.parametrize("host", ["", "[::1", "shop.example:port", "a@b"])
def test_a_broken_host_header_makes_no_page_its_own(gate: Gate, host: str) -> None:
    assert status(gate, HTTP_HOST=host, HTTP_ORIGIN="http://evil.example", **TOKEN_HEADER) == 403


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        (("https://ops.example",), "https://ops.example", 200),
        (("https://ops.example",), "HTTPS://OPS.example", 200),
        (("https://ops.example",), "http://ops.example", 403),
        (("https://ops.example",), "https://ops.example:444", 403),
        (("null",), "null", 200),
        (("*",), "https://anything.example", 200),
        (("*",), "null", 200),
    ],
)
def test_allowed_origins(allowed: tuple[str, ...], origin: str, expected: int) -> None:
    assert status(Gate("shop", TOKEN, None, allowed), HTTP_ORIGIN=origin, **TOKEN_HEADER) == expected
    assert status(Gate("shop", TOKEN, None, allowed), HTTP_ORIGIN=origin) == (401 if expected == 200 else 403)


# authorize


def test_authorize_decides_alone_or_with_the_token() -> None:
    def staff(request: dict[str, Any]) -> bool:
        return request.get("REMOTE_USER") == "staff"

    alone, both = Gate("shop", None, staff), Gate("shop", TOKEN, staff)
    assert [status(alone), status(alone, REMOTE_USER="staff")] == [403, 200]
    assert [status(both, REMOTE_USER="staff"), status(both, **TOKEN_HEADER)] == [401, 403]
    assert status(both, REMOTE_USER="staff", **TOKEN_HEADER) == 200
    assert status(alone, REMOTE_USER="staff", HTTP_ORIGIN="http://evil.example") == 403


def test_authorize_that_fails_keeps_the_door_shut(caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: dict[str, Any]) -> bool:
        raise RuntimeError("no database")

    with caplog.at_level(logging.ERROR):
        assert status(Gate("shop", None, broken)) == 403
    assert "no database" in caplog.text


def test_authorize_is_not_asked_without_the_token() -> None:
    asked: list[Any] = []
    gate = Gate("shop", TOKEN, lambda request: bool(asked.append(request)) or True)
    assert status(gate) == 401
    assert asked == []
    assert status(gate, **TOKEN_HEADER) == 200
    assert len(asked) == 1


def test_no_token_and_no_authorize_is_an_open_door() -> None:
    gate = Gate("shop", None)
    assert status(gate) == 200
    assert status(gate, HTTP_ORIGIN="http://evil.example") == 403
    assert not gate.is_token("")
    assert not gate.is_token("None")
    assert status(gate, HTTP_COOKIE=f"{gate.cookie_name}=") == 200
