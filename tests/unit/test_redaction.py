"""The token does not reach an access log."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest

from rbkit_websocket.http.redaction import hide, redact


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("token=secret", "token=***"),
        ("frames=text&token=secret", "frames=text&token=***"),
        ("token=secret&server=1-2", "token=***&server=1-2"),
        ("token=a&token=b", "token=***&token=***"),
        ("%74oken=secret", "%74oken=***"),
        ("tok%65n=secret&%74%6F%6b%65%6e=secret", "tok%65n=***&%74%6F%6b%65%6e=***"),
        ("%54oken=secret&TOKEN=secret", "%54oken=***&TOKEN=***"),
        ("next=%2F%3Ftoken%3Dsecret%26x=1", "next=%2F%3Ftoken%3D***"),
        ("token=se#cret", "token=***"),
        ("a=b;token=secret", "a=b;token=***"),
        ("mytoken=x", "mytoken=x"),
        ("my-token=x&my_token=y&token_of=z&%6Dytoken=x", "my-token=x&my_token=y&token_of=z&%6Dytoken=x"),
        ("", ""),
        ("token=", "token="),
    ],
)
def test_the_value_of_token_is_hidden(before: str, after: str) -> None:
    environ: dict[str, Any] = {"QUERY_STRING": before, "RAW_URI": f"/a?{before}", "PATH_INFO": "/a"}
    redact(environ)
    assert environ == {"QUERY_STRING": after, "RAW_URI": f"/a?{after}", "PATH_INFO": "/a"}


def test_every_spelling_that_is_let_in_is_hidden() -> None:
    for number in range(2**5 * 2):
        name = "".join(
            (f"%{ord(letter):02x}" if number & 32 else f"%{ord(letter):02X}") if number >> index & 1 else letter
            for index, letter in enumerate("token")
        )
        assert parse_qs(f"{name}=secret")["token"] == ["secret"]
        assert "secret" not in hide(f"GET /?a=b&{name}=secret&c HTTP/1.1")


def test_headers_are_hidden_but_for_the_keys_of_the_handshake() -> None:
    environ: dict[str, Any] = {
        "HTTP_REFERER": "https://host/__rbkit__/?token=secret",
        "HTTP_AUTHORIZATION": "Bearer secret",
        "HTTP_COOKIE": "session=1; rbkit_1234abcd=secret; csrftoken=2",
        "HTTP_X_ORIGINAL_URI": "/?%74oken=secret",
        "HTTP_SEC_WEBSOCKET_KEY": "abcdefghijklmno+token==",
        "PATH_INFO": "/?token=secret",
        "wsgi.input": object(),
    }
    redact(environ)
    assert "secret" not in str(environ)
    assert environ["HTTP_COOKIE"] == "session=1; rbkit_1234abcd=***; csrftoken=2"
    assert environ["HTTP_SEC_WEBSOCKET_KEY"] == "abcdefghijklmno+token=="


def test_a_handlers_request_line_is_hidden_too() -> None:
    class Handler:
        requestline = "GET /?token=secret HTTP/1.1"

        def start_response(self) -> None:
            pass

    handler = Handler()
    redact({}, handler.start_response)
    assert handler.requestline == "GET /?token=*** HTTP/1.1"
    redact({}, lambda: None)
