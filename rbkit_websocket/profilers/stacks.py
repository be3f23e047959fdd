"""Every thread and greenlet now. ``stacks`` answers with one map of string keys:

=================  ====================================================================================================
``timestamp``      float: wall-clock milliseconds
``pid``            int
``threads``        list of ``{"id": int, "name": str, "native_id": int or None, "state": str, "stack": stack}``;
                   ``state`` is ``running`` (on a processor or about to be), ``waiting``, or ``unknown``
``greenlets``      list of ``{"id": int, "name": str, "thread": int or None, "state": str, "waiting_on": str or None,
                   "age": None, "request": None, "stack": stack}``; ``state`` is ``running`` (its thread's current one,
                   be it blocked in C), ``waiting`` or ``new`` (not begun yet); ``waiting_on`` is, judged by the
                   innermost frames, ``socket``, ``sleep``, ``lock``, ``zeromq``, ``threadpool``, ``hub`` or None
=================  ====================================================================================================

``stack`` is a list of ``[name, label, file, first_line, line]``, innermost frame first, at most 256. A thread's current
greenlet is listed once with the real stack, which its thread has as well.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from types import FrameType
from typing import Any, Final

from .base import Host, code_label, thread_facts
from .greenlets import find_greenlets, hub_thread, is_hub

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
        host.release(found)
    return {"timestamp": time.time() * 1000, "pid": os.getpid(), "threads": threads, "greenlets": greenlets}


def _describe(found: list[Any], stacks: dict[int, list[list[Any]]]) -> Iterable[dict[str, Any]]:
    # A greenlet that has begun and has no frame is the one that its thread runs.
    mains = {id(greenlet.parent): greenlet.thread_ident for greenlet in found if is_hub(greenlet)}
    for greenlet in found:
        thread = mains.get(id(greenlet)) or hub_thread(greenlet)
        frame = greenlet.gr_frame
        waiting_on = None
        if frame is not None:
            state, stack = "waiting", _stack(frame)
            waiting_on = "hub" if is_hub(greenlet) else _waiting_on(stack)
        elif not greenlet:
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
    """A gevent greenlet's own name and what it runs, else the class. No ``__repr__`` is called."""
    if is_main:
        return "main"
    kind = type(greenlet).__name__
    if is_hub(greenlet):
        return "Hub"
    base = getattr(sys.modules.get("gevent"), "Greenlet", None)
    if base is None or not issubclass(type(greenlet), base):
        return kind
    function = getattr(greenlet, "_run", None)
    called = getattr(function, "__qualname__", None)
    name = f"{kind}-{greenlet.minimal_ident}"
    return f"{name}: {called}" if type(called) is str else name


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
