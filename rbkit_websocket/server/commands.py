"""From a command's text to its answer. What a command does is registered by the features; all of it runs in the
server's thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..protocol.codec import pack
from ..protocol.commands import COMMANDS, CommandError, find
from ..protocol.constants import OK
from .scheduler import Job

__all__ = ["Call", "Commands", "Handler"]


class Call:
    """One command on its way.

    Attributes:
        arguments: as the table has them.
        client: what stands for the client that sent it; empty: the application itself.
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
"""Returns the answer (bytes, or a map that is packed), or a job that returns the bytes and keeps nobody waiting."""


class Commands:
    """What each command of the table does.

    Args:
        sign_of: told of each command before it is done: which client sent it, and whether it will send it again.
    """

    def __init__(self, sign_of: Callable[[str, bool], None]) -> None:
        self._sign_of = sign_of
        self._handlers: dict[str, Handler] = {}

    def register(self, handlers: Mapping[str, Handler]) -> None:
        """Adds what a feature does. Each name has to be in the table, and can be had once."""
        for name, handler in handlers.items():
            if name not in COMMANDS or name in self._handlers:
                raise ValueError(f"{name} is no command of the table, or is done by another feature")
            self._handlers[name] = handler

    def missing(self) -> set[str]:
        """Names of the table that nobody has registered."""
        return COMMANDS.keys() - self._handlers.keys()

    def answer(self, text: str, client: str = "") -> bytes | Job:
        """The answer to a command, or the job that will make it. Never raises for what a client sent.

        Args:
            text: the command with its arguments.
            client: what stands for the client that sent it; empty: the application itself.
        """
        command, texts = find(text)
        self._sign_of(client, command is not None and command.polls)
        if command is None:
            return OK
        try:
            answer = self._handlers[command.name](Call(command.check(texts), client))
        except CommandError as error:
            answer = {"error": error.code, "message": error.message}
        return pack(answer) if isinstance(answer, Mapping) else answer
