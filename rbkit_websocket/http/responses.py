"""Plain HTTP answers of our own, before a socket is taken over."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ..errors import Refused

__all__ = ["StartResponse", "as_json", "refuse", "respond", "send"]

StartResponse = Callable[..., Any]


_WITHOUT_BODY: Final = ("1", "204", "304")


def send(
    environ: Mapping[str, Any],
    start_response: StartResponse,
    status: str,
    body: bytes,
    headers: Iterable[tuple[str, str]],
) -> list[bytes]:
    """Sends an answer of ours: with its length, and without its body where HTTP has none (RFC 9110 section 6.4.1).

    Some servers would send such a body, and the client of a kept connection would read it as the next answer.
    """
    length = [] if status.startswith(_WITHOUT_BODY) else [("Content-Length", str(len(body)))]
    start_response(status, [*headers, *length])
    # Never an empty list: hypercorn sends the head with the first piece.
    return [body if length and environ.get("REQUEST_METHOD") != "HEAD" else b""]


def respond(
    environ: Mapping[str, Any],
    start_response: StartResponse,
    status: str,
    body: bytes,
    content_type: str = "text/plain; charset=utf-8",
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    """A complete answer that is not cached."""
    fixed = [
        ("Content-Type", content_type),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return send(environ, start_response, status, body, [*fixed, *headers])


def refuse(
    environ: Mapping[str, Any],
    start_response: StartResponse,
    refusal: Refused,
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    """The answer to a request that is refused; its body says what to do."""
    text = f"rbkit: {refusal.message}.\n".encode()
    return respond(environ, start_response, refusal.status, text, headers=[*refusal.headers, *headers])


def as_json(environ: Mapping[str, Any], start_response: StartResponse, value: Any) -> list[bytes]:
    """``value`` as JSON with status 200."""
    body = json.dumps(_strict(value), indent=1, allow_nan=False).encode() + b"\n"
    return respond(environ, start_response, "200 OK", body, "application/json")


def _strict(value: Any) -> Any:
    """``value`` with null for numbers that JSON does not know: one NaN makes the whole unreadable for browsers."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
