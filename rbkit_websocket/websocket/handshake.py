"""The opening handshake of RFC 6455 as a pure function of the WSGI environ: no socket, no I/O.

Two headers alone make a request ours: it asks for an upgrade to WebSocket and offers the subprotocol ``rbkit``. A
request that is ours but malformed is refused here and never reaches the application.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from ..errors import Refused
from ..protocol.constants import SUBPROTOCOL

__all__ = ["accept_headers", "is_ours", "query", "validate"]

# RFC 6455 section 1.3
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = "13"


def _tokens(value: str) -> list[str]:
    """Elements of a comma-separated header; servers join repeated headers with commas (RFC 9110 section 5.3)."""
    return [token.strip(" \t") for token in value.split(",")]


def is_ours(environ: Mapping[str, Any]) -> bool:
    """Whether the request is an upgrade to WebSocket that names the subprotocol ``rbkit``, well-formed or not."""
    return SUBPROTOCOL in _tokens(environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "")) and "websocket" in _tokens(
        environ.get("HTTP_UPGRADE", "").lower()
    )


def validate(environ: Mapping[str, Any]) -> None:
    """Checks the client's opening handshake (RFC 6455 section 4.2.1).

    Raises:
        Refused: 405 with ``Allow`` for a method but GET, 400 for a missing or wrong header, 426 with
            ``Sec-WebSocket-Version`` for another version.
    """
    method = environ.get("REQUEST_METHOD", "")
    if method != "GET":
        raise Refused("405 Method Not Allowed", f"a WebSocket opens with GET, not {method}", (("Allow", "GET"),))
    if environ.get("SERVER_PROTOCOL", "HTTP/1.1") == "HTTP/1.0":
        raise _bad("a WebSocket needs HTTP/1.1; behind nginx set proxy_http_version 1.1")
    if not environ.get("HTTP_HOST"):
        raise _bad("the Host header is missing")
    if "upgrade" not in _tokens(environ.get("HTTP_CONNECTION", "").lower()):
        raise _bad("Connection: Upgrade is missing; a proxy in between has to pass it on")
    # A body behind the upgrade request would be read as frames.
    if environ.get("CONTENT_LENGTH") not in (None, "", "0") or environ.get("HTTP_TRANSFER_ENCODING"):
        raise _bad("an upgrade request has no body")
    if not _is_key(environ.get("HTTP_SEC_WEBSOCKET_KEY", "")):
        raise _bad("Sec-WebSocket-Key has to be 16 bytes in base64")
    version = environ.get("HTTP_SEC_WEBSOCKET_VERSION", "")
    if version.strip() != _VERSION:
        raise Refused(
            "426 Upgrade Required",
            f"this server speaks WebSocket version {_VERSION} (RFC 6455), not {version or 'an unnamed one'}",
            (("Sec-WebSocket-Version", _VERSION),),
        )


def _bad(message: str) -> Refused:
    return Refused("400 Bad Request", message)


def _is_key(value: str) -> bool:
    try:
        return len(base64.b64decode(value.strip().encode("latin-1"), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def accept_headers(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Headers of the 101 answer to a validated request (RFC 6455 section 4.2.2)."""
    key = environ["HTTP_SEC_WEBSOCKET_KEY"].strip().encode("latin-1")
    # SHA-1 is what the RFC prescribes; it proves that the peer speaks WebSocket and protects nothing.
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode("ascii")
    return [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept),
        ("Sec-WebSocket-Protocol", SUBPROTOCOL),
    ]


def query(environ: Mapping[str, Any]) -> dict[str, str]:
    """The URL's query parameters; of a repeated one the last counts."""
    # Bounded: parse_qs refuses more fields with ValueError, and no client needs a dozen.
    try:
        fields = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True, max_num_fields=64)
    except ValueError:
        raise _bad("too many query parameters") from None
    return {name: values[-1] for name, values in fields.items()}
