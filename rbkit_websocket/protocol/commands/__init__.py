"""The one table of commands: their names, what they take, what they answer, and a sentence on each.

Checks, the handshake's ``extensions``, the lists in docs/protocol.rst and the front end's types come from it; what a
command does is registered under its name by a feature of the server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from .cpu import CpuIntervalAnswer, CpuProfileAnswer, CpuStateAnswer, GoodbyeAnswer, WaitProfileAnswer
from .memory import (
    MemoryProfileAnswer,
    SnapshotAnswer,
    SnapshotChunkAnswer,
    SnapshotMakingAnswer,
    TraceObjectsAnswer,
)
from .process import ErrorAnswer, ErrorCode, HandshakeAnswer, StatusAnswer
from .stacks import BlockedAnswer, StacksAnswer

__all__ = ["COMMANDS", "EXTENSIONS", "INTERVAL_RANGE", "Argument", "Command", "CommandError", "find"]

INTERVAL_RANGE: Final = range(100, 10_000_001)
"""Microseconds between two samples that may be asked for."""

_DIGITS: Final = 20
_MAX_PATTERNS: Final = 50
# Letters, digits, _, ., *, and <locals> as Python has it.
_PATTERN: Final = re.compile(r"[\w.*<>-]{1,200}")


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


_CURSOR: Final = Argument("cursor", "the cursor of the last answer")
_SWITCH: Final = Argument("on|off", "the switch", words=("on", "off"))
_SNAPSHOT: Final = Argument("id", "the id that snapshot_start answered")

COMMANDS: Final[dict[str, Command]] = {
    command.name: command
    for command in (
        Command("handshake", "What the server is and what it can.", answer=(HandshakeAnswer,), native=True),
        Command(
            "start_memory_profile",
            "Objects created and destroyed, collections, and gc_stats every 5 s, are published.",
            native=True,
        ),
        Command("stop_memory_profile", "None of these any more.", native=True),
        Command("start_cpu_profiling", "CPU samples are taken and published, by the clock chosen.", native=True),
        Command("stop_cpu_profiling", "None are taken any more.", native=True),
        Command("use_cpu_time", "Samples published from the next start on are worth CPU time.", native=True),
        Command("use_wall_time", "Samples published from the next start on are worth wall time.", native=True),
        Command("trigger_gc", "A full collection; the answer comes after it.", native=True),
        Command(
            "objectspace_snapshot",
            "Publishes the whole heap; the answer comes when all of it is queued.",
            native=True,
        ),
        Command(
            "cpu_profile",
            "What has been sampled since the cursor.",
            (_CURSOR,),
            (CpuProfileAnswer,),
            optional=1,
            polls=True,
        ),
        Command("start_cpu_polling", "CPU samples are taken, for clients that poll.", answer=(CpuStateAnswer,)),
        Command("cpu_events", "Whether single CPU samples are published, to anybody.", (_SWITCH,), (CpuStateAnswer,)),
        Command("stacks", "Where every thread and greenlet stands.", answer=(StacksAnswer,), polls=True),
        Command("blocked", "What has kept the event loop.", answer=(BlockedAnswer,), polls=True),
        Command(
            "trace_objects",
            "Of which classes the objects are followed one by one.",
            (Argument("pattern", "a class or module like app.models.User or app.*", pattern=True),),
            (TraceObjectsAnswer,),
            most=_MAX_PATTERNS,
        ),
        Command(
            "memory_profile",
            "What lives by class, and what has come and gone since the cursor.",
            (_CURSOR,),
            (MemoryProfileAnswer,),
            optional=1,
            polls=True,
        ),
        Command("snapshot_start", "Begins a snapshot of the heap that is pulled in chunks.", answer=(SnapshotAnswer,)),
        Command("snapshot_status", "How far a snapshot is.", (_SNAPSHOT,), (SnapshotAnswer,)),
        Command(
            "snapshot_chunk",
            "One chunk of it.",
            (_SNAPSHOT, Argument("n", "the chunk's number, from 0")),
            (SnapshotChunkAnswer, SnapshotMakingAnswer),
        ),
        Command("status", "What the list of servers tells of each.", answer=(StatusAnswer,), polls=True),
        Command(
            "set_cpu_interval",
            "How often this client wants samples.",
            (Argument("usec", "the interval in microseconds", limits=(INTERVAL_RANGE.start, INTERVAL_RANGE.stop - 1)),),
            (CpuIntervalAnswer,),
        ),
        Command(
            "wait_profile", "Whether this client wants waiting requests sampled.", (_SWITCH,), (WaitProfileAnswer,)
        ),
        Command(
            "goodbye", "What this client has wished ends, as far as nobody else wishes it.", answer=(GoodbyeAnswer,)
        ),
    )
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
