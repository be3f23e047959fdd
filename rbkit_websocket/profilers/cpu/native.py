"""The native sampler (``native/sampler``) behind the interface of the Python one, and the reason why it is not used.

One runs in a process. Where it cannot start, :class:`NativeUnavailable` says why and the Python sampler takes its
place. Where it needs a signal and the signal is in use, it goes on without: it looks at the main thread
like at the others, about 190 times a second.
"""

from __future__ import annotations

import gc
import signal as signals
from types import CodeType
from typing import TYPE_CHECKING, Final, NamedTuple

from ...native.loader import NativeUnavailable, extension, untested
from ..base import Host
from ..process.gcstats import GcWatch
from ..requests.tracker import REQUESTS, TOLD, Streamed
from .sampler import Clock, Held, Sample

if TYPE_CHECKING:
    from ...native._native import Stack

__all__ = ["Drained", "NativeSampler", "default_signal"]

_UNASKED_PERIOD_USEC: Final = 5000
MINIMUM_INTERVAL_USEC: Final = 100


class Drained(NamedTuple):
    """Results of the native sampler since the last call."""

    totals: list[tuple[Stack, str | None, int, int, int, bool]]
    """Entries of :mod:`.fold`, each stack and name once."""
    samples: list[Sample]
    """Single samples, for subscribers; their ``stack`` is a native one, and both weights are the one asked
    for."""
    lost_usec: int
    """Lost microseconds of time, not of CPU time."""


def default_signal() -> int:
    """The real-time signal that is used where none is chosen; 0 where there are none."""
    return signals.SIGRTMIN + 12 if hasattr(signals, "SIGRTMIN") else 0


class NativeSampler:
    """Started, stopped and read by one thread, the server's.

    Args:
        host: the process.
        signum: the signal to ask the main thread with, where one is needed; 0: none, None: the default.

    Raises:
        NativeUnavailable: there is no native sampler here.
    """

    failure: BaseException | None = None

    def __init__(self, host: Host, signum: int | None = None) -> None:
        self._native = extension("_native")
        self._host = host
        self._signum = default_signal() if signum is None else signum
        self._interval_usec = 1000
        self.running = False
        self._marked: tuple[CodeType | None, int] | None = None

    @property
    def interval_usec(self) -> int:
        return self._interval_usec

    @interval_usec.setter
    def interval_usec(self, microseconds: int) -> None:
        self._interval_usec = microseconds
        if self.running:
            self._native.set_interval(microseconds * 1000)

    @property
    def effective_interval_usec(self) -> int:
        """Microseconds between two looks at a main thread that computes."""
        if self.refusal is not None:
            return max(self._interval_usec, _UNASKED_PERIOD_USEC)
        return max(self._interval_usec, MINIMUM_INTERVAL_USEC)

    @property
    def refusal(self) -> str | None:
        """The reason why the main thread cannot be interrupted, as far as is known now; None where it can."""
        if not self._native.needs_signal():
            return None
        word = self._native.status()["refusal"] if self.running else None
        if word is None and not self.running:
            # Whether it could start now: an earlier run's handler will be gone by then.
            if self._signum == 0:
                word = "no signal may be used"
            elif self._taken():
                word = "the signal is in use by the application"
        if word is None or self._signum == 0:
            return word
        return f"{word} ({self._signum}; the option signal names another)"

    def _taken(self) -> bool:
        handler = signals.getsignal(self._signum)
        return handler != signals.SIG_DFL and getattr(handler, "__name__", "") != "rbkit_sampler"

    @property
    def reserve(self) -> str:
        """The reason why only public functions of the interpreter are used; empty where it is not so."""
        return "" if self._native.status()["walk"] == "internal" else untested(self._native)

    def start(self) -> None:
        """Begins to sample.

        Raises:
            NativeUnavailable: not in this process, or not now.
        """
        if self.running:
            return
        self._marked = None
        self._mark()
        try:
            self._native.start(
                self._interval_usec * 1000,
                self._host.main_ident,
                self._signum,
                self._host.own,
                GcWatch._callback.__code__,
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise NativeUnavailable(str(error)) from error
        self.running = True
        # The first of all: the time of other callbacks at a collection's end is not the collector's.
        gc.callbacks.insert(0, self._native.on_collection)
        REQUESTS.want(self, True)

    def _mark(self) -> None:
        """Tells the extension the marker and the servers' functions; both may be loaded after the start."""
        REQUESTS.servers.learn()
        marker, servers = REQUESTS.marker, REQUESTS.servers
        code = marker.code if marker is not None else None
        marked = code, len(servers.codes)
        if marked != self._marked:
            self._native.set_marker(code, REQUESTS.running)
            self._native.set_servers(servers.table() if code is not None else (), TOLD, Streamed)
            self._marked = marked

    def stop(self) -> None:
        if self.running:
            self.running = False
            self._ignore_collections()
            REQUESTS.want(self, False)
            self._native.stop()

    def forget(self) -> None:
        """Forgets the run in a forked child, where none of its threads is, and gives the signal back there."""
        REQUESTS.forget()
        if self.running:
            self.running = False
            self._ignore_collections()
            self._native.forget()

    def _ignore_collections(self) -> None:
        if self._native.on_collection in gc.callbacks:
            gc.callbacks.remove(self._native.on_collection)

    def cost(self) -> tuple[int, int]:
        """Microseconds of CPU time used by its own threads, and by its looks in the application's threads."""
        own, on_behalf = self._native.cost()
        return own, on_behalf

    def catch_up(self) -> None:
        """Takes a look that is overdue; called by the server's thread as soon as it may run."""
        if self.running:
            self._native.catch_up()

    def held(self) -> Held | None:
        """The last long time in which the main thread let no other thread run."""
        found = self._native.held()
        if found is None:
            return None
        began, ended, stack, request = found
        return Held(began, ended, stack.codes, stack.instructions, request)

    def drain(self, raw: Clock | None) -> Drained:
        """Samples since the last call.

        Args:
            raw: the clock of single samples, if they are wanted from now on; they cost more than all the rest.
        """
        totals, singles, lost = self._native.drain()
        self._native.set_raw(raw is not None and self.running, raw == "cpu")
        if self.running:
            self._mark()
        threads = len({stack.thread for _, stack, _, _ in singles})
        samples = [
            Sample(stamp, stack.thread, stack, weight, weight, threads, request)
            for stamp, stack, request, weight in singles
        ]
        return Drained(totals, samples, lost)
