"""What a command is: a row of the table, its arguments and their checks, and the answer of one that cannot be done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict

__all__ = ["CURSOR", "SWITCH", "Argument", "Command", "CommandError", "ErrorAnswer", "ErrorCode"]

_DIGITS: Final = 20
# Letters, digits, _, ., *, and <locals> as Python has it.
_PATTERN: Final = re.compile(r"[\w.*<>-]{1,200}")

ErrorCode = Literal["bad_argument", "not_applicable", "failed", "refused", "unknown_snapshot"]
"""Why a command cannot be done, for programs."""


class ErrorAnswer(TypedDict):
    """A command that cannot be done, whichever it is."""

    error: ErrorCode
    """For programs."""
    message: str
    """For people."""


class CommandError(Exception):
    """A command cannot be done; :meth:`answer` is what its client gets."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def answer(self) -> ErrorAnswer:
        """The answer to the command."""
        return {"error": self.code, "message": self.message}


@dataclass(frozen=True)
class Argument:
    """One argument: a whole number, unless it is one of some words or a pattern.

    Attributes:
        name: as the documentation has it.
        what: for errors: "the interval in microseconds".
        limits: both included.
        words: what there is to choose from.
        pattern: whether it names classes or modules.
    """

    name: str
    what: str
    limits: tuple[int, int] | None = None
    words: tuple[str, ...] = ()
    pattern: bool = False

    def check(self, text: str) -> Any:
        """The argument as it is used.

        Raises:
            CommandError: it cannot be that.
        """
        if self.words:
            if text not in self.words:
                raise _bad(f"{self.what} is {' or '.join(self.words)}, not {text[:40]!r}")
            return text
        if self.pattern:
            if not _PATTERN.fullmatch(text):
                raise _bad(f"a pattern is a class or module like app.models.User or app.*, not {text[:40]!r}")
            return text
        # No sign, no underscores, no digits of other scripts: what int() would take besides.
        if not (text.isascii() and text.isdigit() and len(text) < _DIGITS):
            raise _bad(f"{self.what} is a whole number, not {text[:40]!r}")
        number = int(text)
        if self.limits is not None and not self.limits[0] <= number <= self.limits[1]:
            raise _bad(f"{self.what} is {self.limits[0]} to {self.limits[1]}, not {number}")
        return number


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: its first word.
        sentence: what it does.
        arguments: in order.
        answer: types of what it answers, which is one of these; none: ``ok``. That of a message is its payload's.
        optional: how many of them, counted from the last, may be left out.
        most: how often the last may be repeated; then it may be missing as well.
        native: a command of the protocol itself, which takes no arguments; with some it is as good as unknown.
        polls: whether a client that sends it sends it again.
    """

    name: str
    sentence: str
    arguments: tuple[Argument, ...] = ()
    answer: tuple[type, ...] = ()
    optional: int = 0
    most: int = 0
    native: bool = False
    polls: bool = False

    def check(self, texts: list[str]) -> list[Any]:
        """The arguments as they are used.

        Raises:
            CommandError: there are too many or too few, or one of them cannot be.
        """
        if self.most:
            if len(texts) > self.most:
                raise _bad(f"{self.name} takes at most {self.most} arguments: {self.arguments[0].what}")
            return [self.arguments[0].check(text) for text in texts]
        most, least = len(self.arguments), len(self.arguments) - self.optional
        if not least <= len(texts) <= most:
            count = f"{'at most ' if self.optional else ''}{('no', 'one', 'two')[most]}"
            what = " and ".join(argument.what for argument in self.arguments)
            raise _bad(f"{self.name} takes {count} argument{'s' * (most > 1)}{': ' + what if what else ''}")
        return [argument.check(text) for argument, text in zip(self.arguments, texts, strict=False)]


def _bad(message: str) -> CommandError:
    return CommandError("bad_argument", message)


CURSOR: Final = Argument("cursor", "the cursor of the last answer")
"""Where the last answer of a command that is polled ended."""

SWITCH: Final = Argument("on|off", "the switch", words=("on", "off"))
"""A wish, or its end."""
