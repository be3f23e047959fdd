"""The end of a connection whose upgrade was refused, or whose session is over: no server reads on behind it.

Whatever a client sends behind an upgrade may have been passed on by a proxy that took the upgrade for granted and has
looked at nothing since. As a request of a kept connection it would run.
"""

from __future__ import annotations

from typing import Final

from ..system.loaded import loaded
from .serving import find_serving

__all__ = ["close_behind_answer"]

_CLOSE: Final = (("Connection", "close"),)


def close_behind_answer() -> tuple[tuple[str, str], ...]:
    """Has the server close the connection behind its answer to this request, whichever server it is.

    Returns:
        Headers that the answer has to have for it. Not for all: PEP 3333 keeps ``Connection`` to the server, and
        wsgiref answers 500 to an application that sets it.
    """
    serving = find_serving()
    if serving is None and loaded("uwsgi") is not None:
        return _CLOSE  # for its router, which may have been told to keep connections
    # An upgrade that the application tries on itself, in the midst of another request, ends nobody's connection.
    if serving is None or serving.header("Upgrade") is None:
        return ()
    serving.close_after()
    return serving.closing
