"""Keeps the token of a request out of access logs, which are kept and read by others."""

from __future__ import annotations

import re
from typing import Any, Final

from ..takeover.serving import find_serving, hide_in

__all__ = ["redact"]


def _spelling(word: str) -> str:
    """A word with any of its letters percent-encoded, which means the same in a query."""
    letters = (f"(?:{letter}|%{ord(letter):x}|%{ord(letter.upper()):x})" for letter in word)
    return "".join(letters)


# In a URL, in a URL that is another's parameter (%3Ftoken%3D), in a header, in the cookie that proves the token.
_SECRET: Final = re.compile(
    rf"((?:^|[^\w.~%-]|%[0-9a-f]{{2}}){_spelling('token')}(?:=|%3d))[^&\s]+"
    r"|(\bbearer\s+)\S+"
    r"|(\brbkit_\w+=)[^;,\s]+",
    re.IGNORECASE,
)


def redact(environ: dict[str, Any], start_response: Any = None) -> None:
    """Hides the token in all texts that the web server may log: the URL, the referring page, headers.

    For requests of our own, whose environ reaches no other code; the token is then read from a copy of it.

    Args:
        environ: changed in place; the server's own as well, if that is another object.
        start_response: a method of the handler that logs, where the server is not found on the stack.
    """
    hide_in(environ, hide)
    serving = find_serving()
    if serving is not None:
        serving.hide(hide)
        return
    handler: Any = getattr(start_response, "__self__", None)
    if isinstance(line := getattr(handler, "requestline", None), str):
        handler.requestline = hide(line)


def hide(text: str) -> str:
    """``text`` without the secrets in it."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2] or found[3]}***", text)
