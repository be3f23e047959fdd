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


# In a URL, in one that is a parameter of another (%3Ftoken%3D), in a header, in the cookie that stands for the token.
_SECRET: Final = re.compile(
    rf"((?:^|[^\w.~%-]|%[0-9a-f]{{2}}){_spelling('token')}(?:=|%3d))[^&\s]+"
    r"|(\bbearer\s+)\S+"
    r"|(\brbkit_\w+=)[^;,\s]+",
    re.IGNORECASE,
)


def redact(environ: dict[str, Any], start_response: Any = None) -> None:
    """Hides the token wherever the web server finds it when it logs the request: the URL, the referring page, headers.

    For requests of our own, whose environ nobody else gets to see; a copy of it is what the token is looked for in.

    Args:
        environ: changed in place; the server's own as well, if that is another one.
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
