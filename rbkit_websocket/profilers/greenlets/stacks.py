"""Every thread and greenlet, for ``stacks``.

Raw greenlets (not ``gevent.Greenlet``) are found by a scan of the heap, which takes one per cent of the time: new ones
may be missing for some seconds.

Stacks are taken one after the other, in slices of a millisecond between which the application goes on: each stack is
true, but they are not of one moment, and a greenlet that has ended meanwhile may be in the answer.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any, Final, Literal, NamedTuple

from ...protocol.codec import pack, pack_map
from ...protocol.commands.stacks import GreenletState, StackFrame, ThreadState, WaitingOn
from ...protocol.packing import packed_list
from ...system.clock import time
from ..base import Host, class_name, code_line, thread_facts
from ..requests.tracker import REQUESTS
from ..thread_frames import current_frames, unseen
from .registry import GreenletRegistry, begun, hub_thread, is_gevents, is_hub, runs

__all__ = ["innermost_frames", "stack_of", "stack_of_code", "stacks"]

_LOOKED_AT: Final = 6
# Of threads and of greenlets each; each takes some 50 us.
MOST: Final = 2000
_SLICE: Final = 0.001
_PAUSE: Final = 0.004

_Stack = list[StackFrame]


class _Request(NamedTuple):
    """The part of an answer about a request: its name, and the seconds since it began."""

    name: str | None
    age: float | None


_NONE: Final = _Request(None, None)
# Entries of stacks by code and instruction; the code is kept, so that its identity stays its own.
_Lines = dict[tuple[int, int], tuple[CodeType, StackFrame]]

# (end of the file's name, function or "" for any) -> what it waits on. The first match from the innermost frame counts.
_WAITS: Final[tuple[tuple[str, str, WaitingOn], ...]] = (
    ("gevent/hub.py", "sleep", "sleep"),
    ("gevent/hub.py", "idle", "sleep"),
    ("gevent/hub.py", "run", "hub"),
    ("zmq/green/", "", "zeromq"),
    ("zmq/", "", "zeromq"),
    ("gevent/threadpool.py", "", "threadpool"),
    ("gevent/select.py", "", "socket"),
    ("gevent/selectors.py", "", "socket"),
    ("gevent/_socket", "", "socket"),
    ("gevent/socket.py", "", "socket"),
    ("gevent/_ssl", "", "socket"),
    ("gevent/ssl.py", "", "socket"),
    ("gevent/baseserver.py", "", "socket"),
    ("gevent/os.py", "", "socket"),
    ("gevent/resolver/", "", "threadpool"),
    ("gevent/lock.py", "", "lock"),
    ("gevent/thread.py", "", "lock"),
    ("gevent/event.py", "", "lock"),
    ("gevent/queue.py", "", "lock"),
    ("threading.py", "wait", "lock"),
    ("threading.py", "acquire", "lock"),
    ("threading.py", "__enter__", "lock"),
    ("queue.py", "get", "lock"),
    ("queue.py", "put", "lock"),
)


def stacks(host: Host, registry: GreenletRegistry) -> Generator[float, None, bytes]:
    """The answer of ``stacks`` (a :class:`StacksAnswer`), packed. Works whatever the application's threads do.

    Yields after each slice the seconds in which the application shall have the interpreter to itself.
    """
    REQUESTS.servers.learn()
    lines: _Lines = {}
    slices = _Slices()
    threads: list[bytes] = []
    facts = thread_facts(host)
    idents = [ident for ident in current_frames() or () if ident not in host.own]
    idents.sort(key=lambda ident: ident != host.main_ident)  # the main thread first
    for ident in idents[:MOST]:
        stack, request = _running(ident, lines)
        if not stack:
            continue  # it has ended meanwhile
        fact = facts.get(ident)
        native_id = fact.native_id if fact else None
        thread: ThreadState = {
            "id": ident,
            "name": fact.name if fact else f"thread {ident}",
            "native_id": native_id,
            "state": _thread_state(native_id),
            "request": request.name,
            "request_age": request.age,
            "stack": stack,
        }
        threads.append(pack(thread))
        yield from slices.pause()
    greenlets: list[bytes] = []
    greenlet = None
    found = registry.living()
    number = len(found)
    try:
        yield from slices.pause()
        context = _Context(lines)
        for greenlet, _ in found:
            context.learn(greenlet)
            yield from slices.pause()
        if number > MOST:
            chosen = yield from _choose(found, context, slices)
            registry.release(found)
            found = chosen
        for greenlet, since in found:
            if not greenlet.dead:
                greenlets.append(pack(_describe(greenlet, since, context)))
            yield from slices.pause()
        left_out = number - len(found)
    finally:
        del greenlet
        registry.release(found)
    return pack_map(
        {
            "timestamp": time.time() * 1000,
            "pid": os.getpid(),
            "threads_left_out": max(0, len(idents) - MOST),
            "greenlets_left_out": left_out,
            "unseen": unseen(),
        },
        threads=packed_list(threads),
        greenlets=packed_list(greenlets),
    )


class _Slices:
    """Takes turns with the application: a thread that computes in Python takes the interpreter from the application
    whenever that waits, for a switch interval at least."""

    def __init__(self) -> None:
        self._until = time.monotonic() + _SLICE

    def pause(self) -> Iterator[float]:
        """Yields once if the slice is over."""
        if time.monotonic() >= self._until:
            yield _PAUSE
            self._until = time.monotonic() + _SLICE


def _choose(
    found: list[tuple[Any, float | None]], context: _Context, slices: _Slices
) -> Generator[float, None, list[tuple[Any, float | None]]]:
    """The greenlets to describe: running ones, hubs, and an even choice of the others."""
    step = len(found) / MOST
    evenly = {int(index * step) for index in range(MOST)}
    chosen = []
    for index, (greenlet, since) in enumerate(found):
        kept = index in evenly or runs(greenlet, context.thread(greenlet))
        if kept or id(greenlet) in context.mains or is_hub(greenlet):
            chosen.append((greenlet, since))
        yield from slices.pause()
    return chosen


@contextmanager
def innermost_frames(host: Host, registry: GreenletRegistry) -> Iterator[list[FrameType]]:
    """The innermost frames of all threads and of all parked greenlets; new raw greenlets may be missing."""
    greenlets = registry.living(scan=False)
    frames: list[FrameType] = []
    try:
        # A thread's current greenlet has no frame of its own: it is there with its thread. Threads at the last moment:
        # a frame that has returned leads nowhere.
        frames += [frame for greenlet, _ in greenlets if (frame := greenlet.gr_frame) is not None]
        frames += [frame for ident, frame in (current_frames() or {}).items() if ident not in host.own]
        frames.reverse()
        yield frames
    finally:
        frames.clear()
        registry.release(greenlets)


class _Context:
    """Facts that the descriptions of one answer share.

    Attributes:
        raw: identities of the greenlets that are not gevent's.
        mains: identities of the threads' main greenlets, and their threads.
    """

    def __init__(self, lines: _Lines) -> None:
        self.lines = lines
        self.raw: set[int] = set()
        self.mains: dict[int, int] = {}
        self.awaited: dict[tuple[str, str], WaitingOn | None] = {}
        self._threads: dict[int, int | None] = {}

    def learn(self, greenlet: Any) -> None:
        """Learns a greenlet; called for all of them first."""
        if is_gevents(greenlet):
            return
        self.raw.add(id(greenlet))
        # The parent of a hub or of a pool's worker is its thread's main greenlet.
        root, ident = greenlet.parent, hub_thread(greenlet)
        if root is not None and root.parent is None and ident:
            self.mains[id(root)] = ident

    def thread(self, greenlet: Any) -> int | None:
        """The native thread that it belongs to."""
        if (thread := self.mains.get(id(greenlet))) is not None:
            return thread
        # Most of them have the same parent, the hub, which lives as long as they do.
        parent = id(greenlet.parent) if id(greenlet) not in self.raw else 0
        if parent not in self._threads or not parent:
            self._threads[parent] = hub_thread(greenlet)
        return self._threads[parent]


def _describe(greenlet: Any, since: float | None, context: _Context) -> GreenletState:
    thread = context.thread(greenlet)
    frame = greenlet.gr_frame
    state: Literal["running", "waiting", "new"]
    waiting_on: WaitingOn | None
    is_main, is_raw = id(greenlet) in context.mains, id(greenlet) in context.raw
    waiting_on, request = None, _NONE
    stack: _Stack = []
    if frame is not None:
        state = "waiting"
        stack, request = stack_of(frame, context.lines)
        waiting_on = _waiting_on(stack, context.awaited)
        if waiting_on is None and (is_main or not is_raw):
            # gevent's events, semaphores, queues and joins are compiled: they leave no frame of their own.
            waiting_on = "lock"
    elif not begun(greenlet):
        state = "new"
    elif runs(greenlet, thread):
        state = "running"
        stack, request = _running(thread or 0, context.lines)
    else:
        state, waiting_on = "waiting", "lock"
    return {
        "id": id(greenlet),
        "name": "main" if is_main else _name(greenlet, not is_raw),
        "thread": thread,
        "state": state,
        "waiting_on": waiting_on,
        "age": time.monotonic() - since if since is not None else None,
        "request": request.name,
        "request_age": request.age,
        "stack": stack,
    }


def _running(thread: int, lines: _Lines) -> tuple[_Stack, _Request]:
    """The stack of a thread now."""
    return stack_of((current_frames() or {}).get(thread), lines)


def _name(greenlet: Any, gevents: bool) -> str:
    """A gevent greenlet's name and its function, else the class."""
    if not gevents and is_hub(greenlet):
        return "Hub"
    kind = class_name(type(greenlet)) or "greenlet"
    if not gevents:
        return kind
    # Not the property: asked for the first time it enters a number into a registry that belongs to the event loop.
    given = greenlet.__dict__.get("name")
    name = given if type(given) is str else kind.rpartition(".")[2]
    called = _called(greenlet._run)
    return f"{name}: {called}" if called else name


def _called(function: Any) -> str | None:
    """The name of a function, looked for only where no ``__getattr__`` of the application could answer."""
    for _ in range(5):
        if type(function) is FunctionType:
            return function.__code__.co_qualname
        if type(function) is MethodType:
            function = function.__func__
        elif type(function) is partial:
            function = function.func
        else:
            return None
    return None


def stack_of(frame: FrameType | None, lines: _Lines | None = None) -> tuple[_Stack, _Request]:
    """A stack in the form of answers, and its request; ``lines`` keeps frames that stacks of one answer share."""
    found = REQUESTS.walk(frame)
    request = REQUESTS.of_walk(found)
    stack = stack_of_code(found.stack[0::2], found.stack[1::2], lines)
    return stack, _NONE if request is None else _Request(request.name, REQUESTS.age(request, found.server))


def stack_of_code(codes: Iterable[CodeType], instructions: Iterable[int], lines: _Lines | None = None) -> _Stack:
    """A sampler's stack in the form of answers."""
    lines = {} if lines is None else lines
    stack: _Stack = []
    for code, instruction in zip(codes, instructions, strict=True):
        key = (id(code), instruction)
        if key not in lines:
            line = code_line(code, instruction)
            lines[key] = code, (code.co_name, code.co_qualname, code.co_filename, code.co_firstlineno, line)
        stack.append(lines[key][1])
    return stack


def _waiting_on(stack: _Stack, known: dict[tuple[str, str], WaitingOn | None]) -> WaitingOn | None:
    for name, _, file, *_ in stack[:_LOOKED_AT]:
        if (name, file) not in known:
            known[name, file] = _waits_in(name, file)
        if (answer := known[name, file]) is not None:
            return answer
    return None


def _waits_in(name: str, file: str) -> WaitingOn | None:
    path = file.replace("\\", "/")
    for ending, function, answer in _WAITS:
        if function in ("", name) and (path.endswith(ending) if ending.endswith(".py") else f"/{ending}" in path):
            return answer
    return None


def _thread_state(native_id: int | None) -> Literal["running", "waiting", "unknown"]:
    """A thread's state by proc(5): R is running or ready to."""
    if native_id is None:
        return "unknown"
    try:
        with open(f"/proc/self/task/{native_id}/stat", "rb") as file:
            data = file.read()
    except OSError:
        return "unknown"
    return "running" if data[data.rindex(b")") + 2 :][:1] == b"R" else "waiting"
