"""Dispatches commands: from the text to the answer. Features register handlers; all run in the server's thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..protocol.codec import pack
from ..protocol.commands import COMMANDS, find
from ..protocol.commands.command import CommandError
from ..protocol.constants import OK
from .scheduler import Job

__all__ = ["Call", "Commands", "Handler", "failure"]


class Call:
    """One command on its way.

    Attributes:
        arguments: as the table has them.
        client: a name for the sending client; empty: the application itself.
    """

    __slots__ = ("arguments", "client")

    def __init__(self, arguments: list[Any], client: str = "") -> None:
        self.arguments = arguments
        self.client = client

    @property
    def first(self) -> Any:
        """The first argument; None where it was left out."""
        return self.arguments[0] if self.arguments else None


Handler = Callable[[Call], "bytes | Mapping[str, object] | Job"]
"""Returns the answer (bytes, or a map that is packed), or a job that returns the bytes and holds no other client up."""


class Commands:
    """The handlers of the table's commands.

    Args:
        sign_of: called before each command, with the client, and whether the client will send it again.
    """

    def __init__(self, sign_of: Callable[[str, bool], None]) -> None:
        self._sign_of = sign_of
        self._handlers: dict[str, Handler] = {}

    def register(self, handlers: Mapping[str, Handler]) -> None:
        """Adds a feature's handlers. Each name has to be in the table, and can be registered once."""
        for name, handler in handlers.items():
            if name not in COMMANDS or name in self._handlers:
                raise ValueError(f"{name} is no command of the table, or is done by another feature")
            self._handlers[name] = handler

    def missing(self) -> set[str]:
        """Names of the table without a handler."""
        return COMMANDS.keys() - self._handlers.keys()

    def answer(self, text: str, client: str = "") -> bytes | Job:
        """The answer to a command, or the job that will make it. Never raises because of a client's text.

        Args:
            text: the command with its arguments.
            client: a name for the sending client; empty: the application itself.
        """
        command, texts = find(text)
        self._sign_of(client, command is not None and command.polls)
        if command is None:
            return OK
        try:
            answer = self._handlers[command.name](Call(command.check(texts), client))
        except CommandError as error:
            answer = error.answer()
        if isinstance(answer, Mapping):
            return pack(answer)
        return answer if isinstance(answer, bytes) else _ended(answer)


def _ended(job: Job) -> Job:
    """The job, or the error that it ends with as the answer."""
    try:
        return (yield from job)
    except CommandError as error:
        return pack(error.answer())


def failure(error: Exception) -> bytes:
    """The answer to a command that failed for a reason that nobody foresaw."""
    return pack(CommandError("failed", f"{type(error).__name__}: {error}").answer())
