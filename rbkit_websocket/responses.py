"""Plain HTTP answers of our own, before a socket is taken over."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from .errors import Rejected

__all__ = ["StartResponse", "as_json", "refuse", "respond"]

StartResponse = Callable[..., Any]


def respond(
    start_response: StartResponse,
    status: str,
    body: bytes,
    content_type: str = "text/plain; charset=utf-8",
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    """A complete answer that nobody caches."""
    start_response(
        status,
        [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ],
    )
    return [body]


def refuse(start_response: StartResponse, refusal: Rejected, *, hang_up: bool = False) -> list[bytes]:
    """The answer to a request that is refused; its body says what to do.

    Args:
        hang_up: end the connection too, since a client that wanted a WebSocket may already have sent frames.
    """
    headers = list(refusal.headers) + ([("Connection", "close")] if hang_up else [])
    return respond(start_response, refusal.status, f"rbkit: {refusal.message}.\n".encode(), headers=headers)


def as_json(start_response: StartResponse, value: Any) -> list[bytes]:
    """``value`` as JSON with status 200."""
    body = json.dumps(_strict(value), indent=1, allow_nan=False).encode() + b"\n"
    return respond(start_response, "200 OK", body, "application/json")


def _strict(value: Any) -> Any:
    """``value`` with null for the numbers that JSON does not know: one NaN makes the whole unreadable for browsers."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
