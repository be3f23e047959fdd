"""Everything this package raises on purpose.

::

    RbkitError
    ├── ConfigurationError (ValueError)      an option or environment variable is wrong: raised at construction
    ├── RuntimeDirectoryError                the runtime directory cannot be trusted or used
    ├── ServerStartError                     the embedded Rbkit server could not bind or start
    ├── NoRoom                               the process has too few descriptors or threads left for what was asked
    ├── NoSuchServer                         no Rbkit server of this application has the id that was asked for
    ├── Refused                              an upgrade request is refused in plain HTTP: status, headers, body
    ├── ProtocolError (ValueError)           a message is not of the Rbkit protocol
    └── ClientError                          errors of ``connect()`` and its ``Client``
        ├── ConnectionRefused                the server answered the upgrade with another HTTP status
        ├── ConnectionClosed                 the WebSocket ended: close code and reason
        ├── CommandFailed                    an extension command answered ``{"error": ..., "message": ...}``
        └── CommandTimeout                   no answer in time

Each error stores its facts as fields, and its text is built from them. A server's words stand in a text in one line,
without anything that a terminal or a log would obey.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ClientError",
    "CommandFailed",
    "CommandTimeout",
    "ConfigurationError",
    "ConnectionClosed",
    "ConnectionRefused",
    "NoRoom",
    "NoSuchServer",
    "ProtocolError",
    "RbkitError",
    "Refused",
    "RuntimeDirectoryError",
    "ServerStartError",
]


_SHOWN: Final = 2000


def _harmless(text: str) -> str:
    """``text`` in one line of at most 2000 characters, with escapes for characters that are not printable."""
    if len(text) > _SHOWN:
        text = text[:_SHOWN] + "…"
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in " ".join(text.splitlines())
    )


class RbkitError(Exception):
    """Base class of all errors of this package."""


class ConfigurationError(RbkitError, ValueError):
    """An option has a value that cannot work; the text names it and says what would."""


class RuntimeDirectoryError(RbkitError):
    """The runtime directory is missing, foreign or open to others.

    Args:
        path: the directory, or the file in it, that is wrong.
        problem: what is wrong with it, and what to do.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"rbkit runtime directory {self.path}: {self.problem}"


class ServerStartError(RbkitError):
    """The embedded Rbkit server could not start; ``problem`` says why."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class NoRoom(RbkitError):
    """The process has too few descriptors or threads left for what was asked; ``problem`` says so in words."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class NoSuchServer(RbkitError):
    """No server has the id that a client asked for.

    Args:
        server_id: the id.
        mount: where the list of servers is.
    """

    def __init__(self, server_id: str, mount: str) -> None:
        super().__init__(server_id, mount)
        self.server_id = server_id
        self.mount = mount

    def __str__(self) -> str:
        return f"no server {self.server_id!r} here; GET {self.mount}/servers lists them"


class Refused(RbkitError):
    """An upgrade request is refused before the socket is taken over.

    Args:
        status: HTTP status line without version, ``"401 Unauthorized"``.
        message: plain text for the body: what is wrong and what to do.
        headers: further response headers, ``Allow`` or ``Sec-WebSocket-Version`` say.
    """

    def __init__(self, status: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"


class ProtocolError(RbkitError, ValueError):
    """A message does not follow the Rbkit protocol."""

    def __str__(self) -> str:
        return _harmless(super().__str__())


class ClientError(RbkitError):
    """Base class of the errors of a :class:`~rbkit_websocket.client.Client`."""

    def __str__(self) -> str:
        return _harmless(super().__str__())


class ConnectionRefused(ClientError):
    """The server refused the upgrade, or nothing answered at all.

    Attributes:
        status: the HTTP status code, or None when there was no HTTP answer.
        message: the server's words.
    """

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        if self.status is None:
            return f"cannot connect: {_harmless(self.message)}"
        return f"the server refused the connection with HTTP {self.status}: {_harmless(self.message)}"


class ConnectionClosed(ClientError):
    """The WebSocket is closed.

    Attributes:
        code: the close code (RFC 6455 section 7.4); 1006 when the connection broke without a close frame.
        reason: the peer's words, possibly empty.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"connection closed ({self.code}){': ' + _harmless(self.reason) if self.reason else ''}"


class CommandFailed(ClientError):
    """A command answered with an error map.

    Attributes:
        command: the command as sent.
        code: short machine-readable word.
        message: for people.
    """

    def __init__(self, command: str, code: str, message: str) -> None:
        super().__init__(command, code, message)
        self.command = command
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return _harmless(f"{self.command}: {self.message} ({self.code})")


class CommandTimeout(ClientError):
    """No answer came to ``command`` within ``seconds``."""

    def __init__(self, command: str, seconds: float) -> None:
        super().__init__(command, seconds)
        self.command = command
        self.seconds = seconds

    def __str__(self) -> str:
        return f"no answer to {self.command!r} within {self.seconds:g} s"
