"""The one table of commands: their names, what they take, what they answer, and a sentence on each, by subject.

What a key of an answer holds, in which unit, and what None means stands beside it and nowhere else. A tuple is a
MessagePack array of that length, so a list once it has been read.

Checks, the handshake's ``extensions``, docs/protocol.rst and the front end's types come from here; what a command does
is registered under its name by a feature of the server.
"""

from __future__ import annotations

from typing import Final

from . import cpu, memory, process, stacks
from .command import Command

__all__ = ["COMMANDS", "EXTENSIONS", "find"]

COMMANDS: Final[dict[str, Command]] = {
    command.name: command for subject in (process, cpu, stacks, memory) for command in subject.COMMANDS
}
"""By name."""

EXTENSIONS: Final = tuple(name for name, command in COMMANDS.items() if not command.native)
"""Names of the commands beyond the protocol's own, as the handshake tells them."""


def find(text: str) -> tuple[Command | None, list[str]]:
    """A command, and the texts of its arguments for :meth:`Command.check`.

    No command for what the protocol answers with ``ok`` whatever it is.
    """
    name, *texts = text.split() or [""]
    command = COMMANDS.get(name)
    return (None if command is None or (command.native and texts) else command), texts
