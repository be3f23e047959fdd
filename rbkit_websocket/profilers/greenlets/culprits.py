"""Blocks of the event loop by the line of the application that they are due to.

One slow line is seen with another stack below it each time, depending on where in the called library the look came.
Readers want the line once, with its calls underneath.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from ...protocol.commands.stacks import BlockedLine, StackFrame

__all__ = ["Kind", "by_line"]

NamedStack = list[StackFrame]

_OTHERS: Final = re.compile(r"[/\\](site-packages|dist-packages|rbkit_websocket)[/\\]|^<(frozen|built-?in|interpreter)")
# Not asked of sysconfig, which fails where the working directory has been removed.
_STANDARD: Final = os.path.dirname(os.__file__) + os.sep
_FILE: Final = 2
_LINE: Final = 4
_NAME: Final = 0


class Kind(Protocol):
    """Blocks with one stack and request."""

    request: str | None
    stack: NamedStack
    count: int
    total: float
    longest: float
    last: float


def by_line(kinds: Iterable[Kind], name: Callable[[str], str]) -> list[BlockedLine]:
    """``stacks`` of the answer, the longest first.

    Args:
        kinds: the blocks, by stack and request.
        name: gives the present name of a request.
    """
    groups: dict[Any, list[Kind]] = {}
    for kind in kinds:
        request = kind.request and name(kind.request)
        line = _line(kind.stack)
        places = kind.stack if line is None else kind.stack[line : line + 1]
        key = (request, *((entry[_FILE], entry[_LINE], entry[_NAME]) for entry in places))
        groups.setdefault(key, []).append(kind)
    return sorted((_entry(key[0], found) for key, found in groups.items()), key=lambda entry: -entry["longest"])


def _entry(request: str | None, kinds: list[Kind]) -> BlockedLine:
    kinds.sort(key=lambda kind: -kind.longest)
    line = _line(kinds[0].stack)
    return {
        "request": request,
        "count": sum(kind.count for kind in kinds),
        "total": sum(kind.total for kind in kinds),
        "longest": kinds[0].longest,
        "last": max(kind.last for kind in kinds),
        "stack": kinds[0].stack,
        "line": line,
        "inner": [
            {
                "count": kind.count,
                "total": kind.total,
                "longest": kind.longest,
                "stack": kind.stack[: _line(kind.stack)],
            }
            for kind in kinds
        ]
        if line is not None
        else [],
    }


def _line(stack: NamedStack) -> int | None:
    """The index of the application's innermost line in a stack; None where there is none."""
    for index, entry in enumerate(stack):
        file = entry[_FILE]
        if file and not file.startswith(_STANDARD) and not _OTHERS.search(file):
            return index
    return None
