"""What the tests of the object tracer share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from rbkit_websocket.native.loader import NativeUnavailable, extension

from .native import python

_trace: Any = None
try:
    _trace = extension("_trace")
except NativeUnavailable as error:
    REASON = str(error)
else:
    REASON = ""

# Where one exists, and whether it tells ends truly.
MECHANISMS = [] if _trace is None else [_trace.HOOKS] * _trace.CAN_HOOK + [_trace.REFERENCES] * _trace.CAN_REFTRACE
REASON = REASON or ("" if MECHANISMS else f"tested on {_trace.TESTED_RELEASES} only")
native = pytest.mark.skipif(bool(REASON), reason=f"no native tracing: {REASON}")

# In a process of its own: where the tracer does what nobody expects, that one ends, and says where.
PROBE = """
from rbkit_websocket.native.loader import extension
from rbkit_websocket.profilers.memory.exact_tracer import _references_fail
print(_references_fail(extension("_trace")), end="")
"""
TRUE_MECHANISMS = [mechanism for mechanism in MECHANISMS if mechanism == _trace.HOOKS or not python(PROBE)]


class Told(NamedTuple):
    """One event."""

    created: bool
    identity: int
    milliseconds: float
    name: str


def classes() -> list[type]:
    """All classes of the process."""
    found, waiting = [object], [object]
    seen = {id(object)}
    while waiting:
        for child in type.__subclasses__(waiting.pop()):
            if id(child) not in seen:
                seen.add(id(child))
                found.append(child)
                waiting.append(child)
    return found


@contextmanager
def traced(
    *patterns: str,
    mechanism: int | None = None,
    max_live: int = 1 << 12,
    sites: bool = False,
    among: list[type] | None = None,
) -> Iterator[Any]:
    """The extension module while it looks at the classes named, ``among`` these or all there are."""
    _trace.start(mechanism or _trace.HOOKS, patterns, max_live, sites)
    try:
        _trace.add(among if among is not None else classes())
        yield _trace
    finally:
        _trace.stop()


def told(most: int = 1 << 20) -> list[Told]:
    """The events that wait."""
    rows = _trace.drain(most)
    names = _trace.names(0)
    return [Told(bool(created), identity, at, names[number]) for created, identity, at, number in rows]


def counted() -> dict[str, tuple[int, int]]:
    """Class name to born and died, since the last call."""
    rows = _trace.counts()
    names = _trace.names(0)
    return {names[number]: (born, died) for number, born, died in rows}
