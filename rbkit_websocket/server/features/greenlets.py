"""Stacks of threads and greenlets, and blocks of the event loop."""

from __future__ import annotations

from collections.abc import Callable

from ...profilers.base import Host
from ...profilers.greenlets.blocked import LoopWatch
from ...profilers.greenlets.stacks import stacks
from ...protocol.answers.stacks import BlockedAnswer
from ...protocol.commands import CommandError
from ..commands import Call, Handler
from ..profiling import Profiling
from ..scheduler import Job

__all__ = ["commands"]


def commands(
    host: Host, profiling: Profiling, watch: LoopWatch | None, audience: Callable[[], bool]
) -> dict[str, Handler]:
    """Handlers of the commands.

    Args:
        host: the process.
        profiling: the server's profilers.
        watch: of the event loop; None where there is none.
        audience: tells whether there is a subscriber.
    """

    def all_stacks(_call: Call) -> Job:
        profiling.watch_requests()
        return stacks(host, profiling.greenlets)

    def blocked(_call: Call) -> BlockedAnswer:
        if watch is None:
            raise CommandError(
                "not_applicable", "there is no event loop here that could be blocked: no gevent hub is known"
            )
        return watch.answer(audience())

    return {"stacks": all_stacks, "blocked": blocked}
