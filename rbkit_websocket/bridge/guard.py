"""Commands that must not reach an Rbkit server."""

from __future__ import annotations

__all__ = ["is_harmful"]


def is_harmful(command: bytes) -> bool:
    """Whether the Ruby server does not survive this command; a command of the protocol never is.

    The Ruby server reads a command as a string of C: one that is empty, or begins with NUL, has no characters. It takes
    that for no command, and never answers (``Rbkit::Server#start`` and ``poll_for_request`` of 0.1.10). Its REP socket
    then waits for that answer for ever, and takes no other command. Its own middleware answers ``ok`` itself; so do we.
    """
    return command[:1] in (b"", b"\0")
