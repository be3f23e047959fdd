"""What a test may leave behind: nothing. A snapshot of the process before, and what is too much of it afterwards."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

from .waiting import scaled

PATIENCE = 3.0
"""Seconds for what was told to end to be gone."""

# gevent keeps a few descriptors of its own once a hub has run: epoll, wake-up, timer.
_HUB_DESCRIPTORS = 6


@dataclass(frozen=True)
class Snapshot:
    """The countable things of this process."""

    greenlets: frozenset[int]
    threads: frozenset[int]
    native_threads: frozenset[int]
    descriptors: dict[int, str]
    children: frozenset[int]
    gc_callbacks: tuple[int, ...]
    hooks: dict[str, Any]
    gevent_loaded: bool


def take() -> Snapshot:
    """The state now."""
    gevent_loaded = "gevent" in sys.modules
    if gevent_loaded:
        # A hub makes its descriptors when it first runs; let that be before what follows is counted.
        import gevent

        gevent.sleep(0)
    return Snapshot(
        greenlets=frozenset(map(id, _greenlets())),
        threads=frozenset(filter(None, (thread.ident for thread in threading.enumerate()))),
        native_threads=frozenset(_native_threads()),
        descriptors=_descriptors(),
        children=frozenset(_children()),
        gc_callbacks=tuple(map(id, gc.callbacks)),
        hooks=_hooks(),
        gevent_loaded=gevent_loaded,
    )


def check(before: Snapshot) -> list[str]:
    """What is there now and was not in ``before``, in words; waits a while for it to vanish."""
    deadline = time.monotonic() + scaled(PATIENCE)
    while found := _differences(before):
        if time.monotonic() > deadline:
            return found
        gc.collect()
        if "gevent" in sys.modules:
            import gevent

            gevent.sleep(0.02)
        else:
            time.sleep(0.02)
    return []


def _differences(before: Snapshot) -> list[str]:
    found = [f"greenlet {thing!r}" for thing in _greenlets() if id(thing) not in before.greenlets]
    native = _native_threads()
    # Before 3.13 Python keeps what stood for a foreign thread (a "dummy") after that one has ended.
    threads = [thread for thread in threading.enumerate() if thread.native_id in native]
    found += [f"thread {thread!r}" for thread in threads if thread.ident not in before.threads]
    known = {thread.native_id for thread in threads}
    found += [
        f"native thread {number} ({name})"
        for number, name in native.items()
        if number not in before.native_threads and number not in known
    ]
    if new := _new_descriptors(before):
        # Every ZeroMQ socket has a descriptor, so the slow search for them is only made to give them a name.
        found += [*new, *(f"(open now) ZeroMQ socket {thing!r}" for thing in _sockets())]
    found += [f"child process {text}" for pid, text in _children().items() if pid not in before.children]
    found += [f"gc callback {thing!r}" for thing in gc.callbacks if id(thing) not in before.gc_callbacks]
    hooks = _hooks()
    found += [f"{name}: {hooks[name]!r}, was {was!r}" for name, was in before.hooks.items() if hooks[name] != was]
    return found


def _new_descriptors(before: Snapshot) -> list[str]:
    now = _descriptors()
    new = {number: target for number, target in now.items() if before.descriptors.get(number) != target}
    if "gevent" in sys.modules and not before.gevent_loaded:
        own = [number for number, target in new.items() if target.startswith("anon_inode:")]
        for number in own[:_HUB_DESCRIPTORS]:
            del new[number]
    # libffi keeps one of itself from when ctypes is first imported, which is how frames are had without the extension.
    return [f"descriptor {number} -> {target}" for number, target in new.items() if "/libffi.so" not in target]


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own descriptor
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _native_threads() -> dict[int, str]:
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended
            found[int(task.name)] = (task / "comm").read_text().strip()
    return found


def _instances(kind: type) -> list[Any]:
    """A search of the whole heap: tens of milliseconds."""
    # isinstance() would ask weak proxies for their class, and those of dead objects fail at that.
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]


_spawned: WeakSet[Any] | None = None


def _greenlets() -> list[Any]:
    """Greenlets spawned and not ended. gevent tells of each; those of before it was asked are searched for, once."""
    global _spawned
    if "gevent" not in sys.modules:
        return []
    import gevent

    if _spawned is None:
        _spawned = WeakSet(_instances(gevent.Greenlet))
        gevent.Greenlet.add_spawn_callback(_spawned.add)
    return [thing for thing in tuple(_spawned) if thing.started and not thing.dead]


def _sockets() -> list[Any]:
    if "zmq" not in sys.modules:
        return []
    import zmq

    return [thing for thing in _instances(zmq.Socket) if not thing.closed]


def _children() -> dict[int, str]:
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has just ended
            for pid in (task / "children").read_text().split():
                found[int(pid)] = pid
    for pid in found:
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found[pid] = f"{pid} {command[:200] or '(zombie)'}"
    return found


def _hooks() -> dict[str, Any]:
    """Where profilers hang themselves."""
    tracemalloc = sys.modules.get("tracemalloc")
    hooks: dict[str, Any] = {
        "sys.getprofile()": sys.getprofile(),
        "tracemalloc": bool(tracemalloc and tracemalloc.is_tracing()),
        "switch interval": sys.getswitchinterval(),
        "gc enabled": gc.isenabled(),
    }
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        hooks[f"itimer {timer}"] = signal.getitimer(timer)[1]
    for number in signal.valid_signals() - {signal.SIGINT, signal.SIGALRM}:  # pytest and pytest-timeout have these
        hooks[f"handler of signal {int(number)}"] = signal.getsignal(number)
    return hooks
