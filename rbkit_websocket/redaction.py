"""Keeps the token of a request's URL out of access logs, which are kept and read by others."""

from __future__ import annotations

import re
from typing import Any, Final

from .httphandler import find_handler

__all__ = ["redact"]

_TOKEN: Final = re.compile(r"(?<=[?&]token=)[^&#\s]+")
_HIDDEN: Final = "***"

# What the servers write access logs from: gunicorn RAW_URI, uWSGI and others REQUEST_URI.
_URLS: Final = ("RAW_URI", "REQUEST_URI")


def redact(environ: dict[str, Any], start_response: Any = None) -> None:
    """Replaces the value of ``token=`` wherever the web server finds the URL when it logs the request.

    For requests of our own, whose environ nobody else gets to see, once the token has been looked at.

    Args:
        environ: changed in place.
        start_response: pywsgi's handler logs its ``requestline``; this is a method of it unless something in between
            has wrapped it. Handlers of ``http.server`` log theirs, or their ``path``, and are found without it.
    """
    query = environ.get("QUERY_STRING", "")
    environ["QUERY_STRING"] = _hide(f"?{query}")[1:]
    for key in _URLS:
        if isinstance(environ.get(key), str):
            environ[key] = _hide(environ[key])
    for handler in (getattr(start_response, "__self__", None), find_handler(environ)):
        for attribute in ("requestline", "path"):
            if isinstance(value := getattr(handler, attribute, None), str):
                setattr(handler, attribute, _hide(value))


def _hide(url: str) -> str:
    return _TOKEN.sub(_HIDDEN, url)
