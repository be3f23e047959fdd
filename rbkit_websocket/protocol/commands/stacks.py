"""Where threads and greenlets stand, and what has kept the event loop."""

from __future__ import annotations

from typing import Final, Literal, TypedDict

from .command import Command

__all__ = [
    "COMMANDS",
    "BlockNow",
    "BlockedAnswer",
    "BlockedBelow",
    "BlockedLine",
    "GreenletState",
    "StackFrame",
    "StacksAnswer",
    "ThreadState",
    "WaitingOn",
]

StackFrame = tuple[str, str, str, int, int]
"""Name, label, file, the line on which the function begins, the line that was executing."""

WaitingOn = Literal["socket", "sleep", "zeromq", "threadpool", "hub", "lock"]
"""``hub`` is the event loop itself; ``lock`` whatever another greenlet has to release: lock, event, queue, join."""


class ThreadState(TypedDict):
    """A thread."""

    id: int
    """Its identity."""
    name: str
    """As ``threading`` knows it, else ``thread`` and its identity."""
    native_id: int | None
    """The kernel's; None where it is not known."""
    state: Literal["running", "waiting", "unknown"]
    """``running`` is on a processor or about to be."""
    request: str | None
    """The name of the request that the stack belongs to, from its begin until its body has been sent. gunicorn and
    pywsgi tell that of every request. Under other servers it is None for those that began before somebody watched:
    sampled, or sent this command within the time to linger."""
    request_age: float | None
    """Seconds since that began."""
    stack: list[StackFrame]
    """Innermost frame first. Of more than 257 frames these are the innermost and the outermost 128, and between them
    one whose name and label are ``(… N frames …)``, in no file, for the N that are left out."""


class GreenletState(TypedDict):
    """A greenlet. It serves a whole connection, so its ``age`` is mostly that of the connection."""

    id: int
    """Its identity."""
    name: str
    """What it has been named and what it runs, or its class; ``main`` for a thread's own."""
    thread: int | None
    """Identity of the thread that it belongs to; None where that is not known."""
    state: Literal["running", "waiting", "new"]
    """``running``: its thread's current one, be it blocked in C; ``new``: not begun yet. One whose own function is
    compiled (``gevent.spawn(event.wait)``) has no frames, and waits unless its thread has none either."""
    waiting_on: WaitingOn | None
    """Judged by the innermost frames; None where it does not wait, or they do not tell."""
    age: float | None
    """Seconds since it was spawned; None for raw greenlets and for those spawned before the server started."""
    request: str | None
    """As of a thread."""
    request_age: float | None
    """As of a thread."""
    stack: list[StackFrame]
    """As of a thread. A thread's current greenlet is listed once with the real stack, which its thread has as well."""


class StacksAnswer(TypedDict):
    """Every thread and greenlet."""

    timestamp: float
    """Wall-clock milliseconds."""
    pid: int
    """As the process itself knows it."""
    threads: list[ThreadState]
    """The main one first."""
    greenlets: list[GreenletState]
    """In no order."""
    threads_left_out: int
    """How many there are besides, where there are more than 2000."""
    greenlets_left_out: int
    """How many there are besides, where there are more than 2000. Those that run are in here; of the others some are
    left out evenly."""
    unseen: str | None
    """What of the process is not in here, for people: other interpreters than the application's, and without the C
    extension its threads while there are any; None for nothing."""


class BlockNow(TypedDict):
    """A block that lasts still."""

    seconds: float
    """So far."""
    request: str | None
    """The name of the request that it belongs to, if any."""
    stack: list[StackFrame]
    """Innermost frame first, as it was when the block passed the limit."""


class BlockedBelow(TypedDict):
    """What a line called that blocked."""

    count: int
    """Blocks."""
    total: float
    """Their sum in seconds."""
    longest: float
    """Seconds of the longest."""
    stack: list[StackFrame]
    """The frames below the line only, innermost first."""


class BlockedLine(TypedDict):
    """Blocks of one request at one line of the application."""

    request: str | None
    """The name of the request, if any."""
    count: int
    """Blocks."""
    total: float
    """Their sum in seconds."""
    longest: float
    """Seconds of the longest."""
    last: float
    """When the most recent was, in wall-clock milliseconds."""
    stack: list[StackFrame]
    """Of the longest, innermost frame first, as it was when the block passed the limit."""
    line: int | None
    """The line's index in ``stack``: the innermost frame that is neither Python's nor an installed library's; None
    where there is none, and then only blocks with the same stack are one entry."""
    inner: list[BlockedBelow]
    """What the line called, the longest first; empty where there is no line."""


class BlockedAnswer(TypedDict):
    """What has kept the event loop. Where none is known (threads) the answer is the error ``not_applicable``."""

    limit: float
    """Seconds from which on a block counts at the moment: 0.1 while somebody subscribes or has sent this command within
    the last 10 s, else ``blocked_log``; 0 when nothing is watched."""
    log_limit: float
    """``blocked_log``."""
    since: float
    """When this server began to count, in wall-clock milliseconds."""
    count: int
    """Blocks so far, one that lasts still among them."""
    total: float
    """Their sum in seconds."""
    longest: float
    """Seconds of the longest."""
    now: BlockNow | None
    """The block that lasts still; None where none does."""
    unseen: str | None
    """What of the process is not watched, for people; None for nothing."""
    stacks: list[BlockedLine]
    """The longest first. The 200 stacks that were seen most recently are kept."""


COMMANDS: Final = (
    Command("stacks", "Where every thread and greenlet stands.", answer=(StacksAnswer,), polls=True),
    Command("blocked", "What has kept the event loop.", answer=(BlockedAnswer,), polls=True),
)
