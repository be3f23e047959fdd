"""Parts shared by profilers: the process they look at, events as packed bytes, names that run no application code."""

from __future__ import annotations

import gc
import os
import sys
import threading
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from ..system.clock import time

__all__ = [
    "CALLBACKS",
    "PACKAGE",
    "Host",
    "Profiler",
    "ThreadFacts",
    "class_name",
    "code_line",
    "cpu_clock",
    "module_name",
    "named_code",
    "thread_facts",
]


@dataclass
class Host:
    """The process as a native thread may touch it: originals of functions that gevent patches.

    Attributes:
        start_new_thread, allocate_lock, get_ident: of ``_thread``, never gevent's.
        main_ident: what ``get_ident`` returns in the application's main thread.
        own: identities of our own native threads, which no profiler shows.
        release: empties a list in the application's own thread. A list of the application's objects may hold the last
            reference to some of them, and their finalizers must not run in a thread of ours under gevent.
        behind: whether earlier releases still wait for that thread; the memory that they hold adds up.
        call: calls a function in that thread soon; False when there is no such thread.
        quiet: a context in which no automatic collection starts in this thread, for the same reason.
    """

    start_new_thread: Callable[..., int]
    allocate_lock: Callable[[], Any]
    get_ident: Callable[[], int]
    main_ident: int
    own: set[int] = field(default_factory=set)
    release: Callable[[list[Any]], None] = list.clear
    behind: Callable[[], bool] = bool
    call: Callable[[Callable[[], object]], bool] = lambda _function: False
    quiet: Callable[[], AbstractContextManager[Any]] = nullcontext


PACKAGE: Final = os.path.dirname(sys.modules[__name__.partition(".")[0]].__file__ or "") + os.sep
"""What the names of our files begin with."""

CALLBACKS: Final[set[types.CodeType]] = set()
"""Functions of ours that the interpreter calls in any thread: no profiler takes them for the thread's work."""


class Profiler(ABC):
    """A profiler that is on or off, and whose events wait until the server's thread drains them.

    ``start`` and ``stop`` are idempotent and called from one thread only, the server's.
    """

    running: bool = False

    @abstractmethod
    def start(self) -> None:
        """Switches it on."""

    @abstractmethod
    def stop(self) -> None:
        """Switches it off; waiting events are dropped at the next start."""

    @abstractmethod
    def drain(self, audience: bool) -> Iterable[bytes]:
        """The packed events since the last call; without an audience they are dropped before they cost anything."""


_CPUCLOCK_THREAD: Final = 6  # CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED, linux/posix-timers.h


# Descriptors of ``type`` itself: reading an attribute of a class through them runs neither a metaclass's
# __getattribute__ nor a property that hides behind the name.
_qualname = type.__dict__["__qualname__"].__get__
_module = type.__dict__["__module__"].__get__


def class_name(cls: type) -> str | None:
    """``module.Qualified.Name`` of a class, builtins bare; None when the class hides it. Runs no application code."""
    try:
        name = _qualname(cls)
        module = _module(cls)
    except AttributeError:  # a class whose namespace has no __module__
        return None
    if type(name) is not str:
        return None
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def module_name(cls: type) -> str:
    """``__module__`` of a class, empty where it is no text. Runs no application code."""
    try:
        module = _module(cls)
    except AttributeError:
        return ""
    return module if type(module) is str else ""


def named_code(name: str) -> types.CodeType:
    """Something that stands in a stack as a function does, and is none."""
    return compile("", "<interpreter>", "exec").replace(co_name=name, co_qualname=name)


def code_line(code: types.CodeType, instruction: int) -> int:
    """The line of the instruction at byte offset ``instruction`` (a frame's ``f_lasti``)."""
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            return line
    return code.co_firstlineno


@dataclass(frozen=True)
class ThreadFacts:
    """A thread's name and the kernel's id of it (None when unknown)."""

    name: str
    native_id: int | None


def thread_facts(host: Host) -> dict[int, ThreadFacts]:
    """Names and kernel ids of the native threads, by identity, from ``threading`` without taking any of its locks.

    Under monkey patching ``threading`` lists greenlets under identities of their own; only the main thread is native
    then, and is entered under its real identity.
    """
    # A copy in one bytecode: no other thread runs in between. Both names have been there since Python 3.3.
    active = list(threading._active.items())  # type: ignore[attr-defined]
    facts = {
        ident: ThreadFacts(str(thread._name), thread._native_id if type(thread._native_id) is int else None)
        for ident, thread in active
        if thread is not threading.main_thread()
    }
    # The main thread's kernel id is the process id, on Linux and after a fork too.
    main_id = os.getpid() if sys.platform == "linux" else None
    facts[host.main_ident] = ThreadFacts(str(threading.main_thread()._name), main_id)  # type: ignore[attr-defined]
    return facts


def cpu_clock(native_id: int | None) -> float | None:
    """Seconds of processor time that a thread has used, by its kernel id; None where that cannot be told.

    pthread_getcpuclockid of a dead thread is undefined; a clock made of the kernel's id merely fails.
    """
    if native_id is None or sys.platform != "linux":
        return None
    try:
        return time.clock_gettime((~native_id) << 3 | _CPUCLOCK_THREAD)
    except OSError:
        return None


class QuietCollector:
    """A context in which no automatic collection starts. Several threads may be in it; it never stays off for good.

    If the application switches the collector off meanwhile, it is on again at the end: Python tells nothing of that.
    """

    _held: ClassVar[bool] = False  # by the one of us that has found it on

    def __enter__(self) -> None:
        self._was_on = gc.isenabled()
        if self._was_on:
            QuietCollector._held = True
            gc.disable()

    def __exit__(self, *exc_info: object) -> None:
        if self._was_on:
            gc.enable()
            QuietCollector._held = False

    @classmethod
    def after_in_child(cls) -> None:
        """Switches it on again in a forked child, where the thread that held it off does not exist."""
        if cls._held:
            cls._held = False
            gc.enable()
