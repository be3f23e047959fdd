"""Stacks of threads and greenlets, and blocks of the event loop."""

from __future__ import annotations

from collections.abc import Callable

from ...profilers.base import Host
from ...profilers.greenlets.blocked import LoopWatch
from ...profilers.greenlets.registry import GreenletRegistry
from ...profilers.greenlets.stacks import stacks
from ...protocol.commands.command import CommandError
from ...protocol.commands.stacks import BlockedAnswer
from ..dispatch import Call, Handler
from ..scheduler import Job

__all__ = ["commands"]


def commands(
    host: Host,
    greenlets: GreenletRegistry,
    watch: LoopWatch | None,
    audience: Callable[[], bool],
    watch_requests: Callable[[], None],
) -> dict[str, Handler]:
    """Handlers of the commands.

    Args:
        host: the process.
        greenlets: those of the process.
        watch: of the event loop; None where there is none.
        audience: tells whether there is a subscriber.
        watch_requests: has the begin of each request noted for a while.
    """

    def all_stacks(_call: Call) -> Job:
        watch_requests()
        return stacks(host, greenlets)

    def blocked(_call: Call) -> BlockedAnswer:
        if watch is None:
            raise CommandError(
                "not_applicable", "there is no event loop here that could be blocked: no gevent hub is known"
            )
        return watch.answer(audience())

    return {"stacks": all_stacks, "blocked": blocked}
