"""The end of a connection whose upgrade was refused, or whose session is over: no server reads on behind it.

A proxy that took the upgrade for granted may have passed on unchecked bytes that a client sent behind it. On a kept
connection they would run as a request.
"""

from __future__ import annotations

from typing import Final

from ..system.loaded import loaded
from .serving import find_serving

__all__ = ["close_behind_answer"]

_CLOSE: Final = (("Connection", "close"),)


def close_behind_answer() -> tuple[tuple[str, str], ...]:
    """Makes the server, whichever it is, close the connection behind its answer to this request.

    Returns:
        Headers that the answer needs for that. Not for all: PEP 3333 keeps ``Connection`` to the server, and
        wsgiref answers 500 to an application that sets it.
    """
    serving = find_serving()
    if serving is None and loaded("uwsgi") is not None:
        return _CLOSE  # for its router, which may have been told to keep connections
    # An upgrade that the application tries on itself, within another request, ends no connection.
    if serving is None or serving.header("Upgrade") is None:
        return ()
    serving.close_after()
    return serving.closing
