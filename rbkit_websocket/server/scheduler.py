"""Long work in slices: generators that take turns, some of them due at times of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final

from ..system.clock import time

__all__ = ["Job", "Scheduler"]

Job = Generator["float | None", None, Any]
"""Yields None to go on as soon as others have had their turn, or the seconds it wants to wait; returns its result."""

_SLICE: Final = 0.01


class Scheduler:
    """The jobs of one thread.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._jobs: deque[_Scheduled] = deque()

    def add(
        self,
        job: Job,
        ended: Callable[[Any], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Takes a job.

        Args:
            job: closed when the scheduler is, wherever it stands.
            ended: is called with its result.
            failed: is called with its exception; without it :meth:`work` raises the exception.
        """
        self._jobs.append(_Scheduled(job, ended, failed))

    def deadline(self) -> float | None:
        """The clock's time when the next job is due; None when there is none."""
        return min((entry.due for entry in self._jobs), default=None)

    def work(self, now: float) -> None:
        """Gives the jobs that are due a slice of the time, one after the other."""
        for _ in range(len(self._jobs)):
            entry = self._jobs.popleft()
            if entry.due > now:
                self._jobs.append(entry)
                continue
            until = self._clock() + _SLICE
            try:
                wait: float | None = None
                while wait is None and self._clock() < until:
                    wait = next(entry.job)
                entry.due = self._clock() + (wait or 0.0)
                self._jobs.append(entry)
            except StopIteration as end:
                if entry.ended is not None:
                    entry.ended(end.value)
            except Exception as error:
                if entry.failed is None:
                    raise
                entry.failed(error)

    def close(self) -> None:
        """Ends all jobs where they stand."""
        while self._jobs:
            self._jobs.popleft().job.close()


class _Scheduled:
    __slots__ = ("due", "ended", "failed", "job")

    def __init__(
        self, job: Job, ended: Callable[[Any], None] | None, failed: Callable[[Exception], None] | None
    ) -> None:
        self.job = job
        self.ended = ended
        self.failed = failed
        self.due = 0.0
