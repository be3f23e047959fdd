"""The address that the first request has printed: this server's own, and never what a client says it is."""

from __future__ import annotations

import socket

import pytest

from rbkit_websocket.http.application_address import application_url

NOWHERE = "http://<address of this application>"


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({"SERVER_NAME": "127.0.0.1"}, "http://127.0.0.1:8000"),
        ({"SERVER_NAME": "0.0.0.0"}, "http://127.0.0.1:8000"),
        ({"SERVER_NAME": "::1"}, "http://[::1]:8000"),
        ({"SERVER_NAME": "localhost"}, "http://localhost:8000"),
        ({"SERVER_NAME": socket.gethostname(), "SCRIPT_NAME": "/shop"}, "http://localhost:8000/shop"),
        ({"SERVER_NAME": "elsewhere.example"}, NOWHERE),
        ({"SERVER_NAME": "127.0.0.1", "SERVER_PORT": "@evil"}, NOWHERE),
        # Behind a Unix socket the name may be the client's word.
        ({"SERVER_NAME": "localhost", "REMOTE_ADDR": ""}, NOWHERE),
    ],
    ids=str,
)
def test_it_is_what_the_server_knows_by_itself(environ: dict[str, str], address: str) -> None:
    known = {
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "evil.example:80",
        "wsgi.url_scheme": "http",
    }
    assert application_url(known | environ) == address
