"""Every thread and greenlet now. ``stacks`` answers with one map of string keys:

=================  ====================================================================================================
``timestamp``      float: wall-clock milliseconds
``pid``            int
``threads``        list of ``{"id": int, "name": str, "native_id": int or None, "state": str, "stack": stack}``;
                   ``state`` is ``running`` (on a processor or about to be), ``waiting``, or ``unknown``
``greenlets``      list of ``{"id": int, "name": str, "thread": int or None, "state": str, "waiting_on": str or None,
                   "age": None, "request": None, "stack": stack}``; ``state`` is ``running`` (its thread's current one,
                   be it blocked in C), ``waiting`` or ``new`` (not begun yet); ``waiting_on`` is, judged by the
                   innermost frames, ``socket``, ``sleep``, ``zeromq``, ``threadpool``, ``hub`` (the event loop
                   itself), ``lock`` (whatever another greenlet has to release: lock, event, queue, join) or None
=================  ====================================================================================================

``stack`` is a list of ``[name, label, file, first_line, line]``, innermost frame first, at most 256. A thread's current
greenlet is listed once with the real stack, which its thread has as well.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from functools import partial
from types import FrameType, FunctionType, MethodType
from typing import Any, Final

from .base import Host, class_name, code_label, thread_facts
from .greenlets import begun, find_greenlets, hub_thread, is_gevents, is_hub

__all__ = ["take_stacks"]

_MAX_DEPTH: Final = 256
_LOOKED_AT: Final = 6

# (end of the file's name, function or "" for any) -> what it waits on. The first match from the innermost frame counts.
_WAITS: Final = (
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


def take_stacks(host: Host) -> dict[str, Any]:
    """The answer of ``stacks``; see this module's docstring. Works whatever the application's threads do."""
    facts = thread_facts(host)
    frames = {ident: frame for ident, frame in sys._current_frames().items() if ident not in host.own}
    stacks = {ident: _stack(frame) for ident, frame in frames.items()}
    frames.clear()
    threads = []
    for ident, stack in stacks.items():
        fact = facts.get(ident)
        native_id = fact.native_id if fact else None
        threads.append(
            {
                "id": ident,
                "name": fact.name if fact else f"thread {ident}",
                "native_id": native_id,
                "state": _thread_state(native_id),
                "stack": stack,
            }
        )
    found = find_greenlets(host)
    try:
        greenlets = list(_describe(found, stacks))
    finally:
        if host.behind():
            found.clear()
        else:
            host.release(found)
    return {"timestamp": time.time() * 1000, "pid": os.getpid(), "threads": threads, "greenlets": greenlets}


def _describe(found: list[Any], stacks: dict[int, list[list[Any]]]) -> Iterable[dict[str, Any]]:
    # A greenlet that has begun and has no frame is the one that its thread runs.
    # The parent of a hub or of a pool's worker is its thread's main greenlet.
    roots = ((greenlet.parent, hub_thread(greenlet)) for greenlet in found if not is_gevents(greenlet))
    mains = {id(root): ident for root, ident in roots if root is not None and root.parent is None and ident}
    for greenlet in found:
        thread = mains.get(id(greenlet)) or hub_thread(greenlet)
        frame = greenlet.gr_frame
        waiting_on = None
        if frame is not None:
            state, stack = "waiting", _stack(frame)
            waiting_on = _waiting_on(stack)
            if waiting_on is None and (id(greenlet) in mains or is_gevents(greenlet)):
                # gevent's events, semaphores, queues and joins are compiled: they leave no frame of their own.
                waiting_on = "lock"
        elif not begun(greenlet):
            state, stack = "new", []
        else:
            state, stack = "running", stacks.get(thread or 0, [])
        yield {
            "id": id(greenlet),
            "name": _name(greenlet, id(greenlet) in mains),
            "thread": thread,
            "state": state,
            "waiting_on": waiting_on,
            "age": None,
            "request": None,
            "stack": stack,
        }


def _name(greenlet: Any, is_main: bool) -> str:
    """What a gevent greenlet has been named and what it runs, else the class."""
    if is_main:
        return "main"
    if is_hub(greenlet):
        return "Hub"
    kind = class_name(type(greenlet)) or "greenlet"
    if not is_gevents(greenlet):
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
            return code_label(function.__code__)
        if type(function) is MethodType:
            function = function.__func__
        elif type(function) is partial:
            function = function.func
        else:
            return None
    return None


def _stack(frame: FrameType | None) -> list[list[Any]]:
    stack: list[list[Any]] = []
    while frame is not None and len(stack) < _MAX_DEPTH:
        code = frame.f_code
        line = frame.f_lineno or code.co_firstlineno
        stack.append([code.co_name, code_label(code), code.co_filename, code.co_firstlineno, line])
        frame = frame.f_back
    return stack


def _waiting_on(stack: list[list[Any]]) -> str | None:
    for name, _, file, _, _ in stack[:_LOOKED_AT]:
        path = file.replace("\\", "/")
        for ending, function, answer in _WAITS:
            if function in ("", name) and (path.endswith(ending) if ending.endswith(".py") else f"/{ending}" in path):
                return answer
    return None


def _thread_state(native_id: int | None) -> str:
    """What proc(5) says of a thread: R is running or ready to."""
    if native_id is None:
        return "unknown"
    try:
        with open(f"/proc/self/task/{native_id}/stat", "rb") as file:
            data = file.read()
    except OSError:
        return "unknown"
    return "running" if data[data.rindex(b")") + 2 :][:1] == b"R" else "waiting"
