"""The token does not reach an access log."""

from __future__ import annotations

from typing import Any

import pytest

from rbkit_websocket.redaction import redact


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("token=secret", "token=***"),
        ("frames=text&token=secret", "frames=text&token=***"),
        ("token=secret&server=1-2", "token=***&server=1-2"),
        ("token=a&token=b", "token=***&token=***"),
        ("mytoken=x", "mytoken=x"),
        ("", ""),
        ("token=", "token="),
    ],
)
def test_the_value_of_token_is_hidden(before: str, after: str) -> None:
    environ: dict[str, Any] = {"QUERY_STRING": before, "RAW_URI": f"/a?{before}", "PATH_INFO": "/a"}
    redact(environ)
    assert environ == {"QUERY_STRING": after, "RAW_URI": f"/a?{after}", "PATH_INFO": "/a"}


def test_a_handlers_request_line_is_hidden_too() -> None:
    class Handler:
        requestline = "GET /?token=secret HTTP/1.1"

        def start_response(self) -> None:
            pass

    handler = Handler()
    redact({}, handler.start_response)
    assert handler.requestline == "GET /?token=*** HTTP/1.1"
    redact({}, lambda: None)
