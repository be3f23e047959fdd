"""Commands that take their time, as generators that the server's loop takes turns with."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Final

from ..profilers.heap import HeapDump
from ..protocol.constants import OK
from .publisher import Pace

if TYPE_CHECKING:
    from .commands import Job
    from .server import Server

__all__ = ["collect_garbage", "snapshot"]

# How long the application's own thread has to begin with a collection before the server's thread does it.
_COLLECT_WITHIN: Final = 0.5
_LOOK_AGAIN: Final = 0.02


def collect_garbage(server: Server) -> Job:
    """A full collection, in the application's own thread if that gets to it: finalizers run in whoever collects."""
    # Whoever takes the lock collects; it is an original one and nobody waits for it.
    begun = server.host.allocate_lock()
    ended = []

    def collect() -> None:
        if begun.acquire(False):
            try:
                gc.collect()
            finally:
                ended.append(True)
                server.wake()

    if server.app.call(collect):
        deadline = time.monotonic() + _COLLECT_WITHIN
        while not ended and time.monotonic() < deadline:
            yield _LOOK_AGAIN
        # Once it has begun over there it is not begun again here.
        while not ended and begun.locked():
            yield _LOOK_AGAIN
    collect()
    return OK


def snapshot(server: Server) -> Job:
    """Publishes the heap; one that is asked for while another runs waits for that one."""
    if server.snapshots_running > 0:
        while server.snapshots_running > 0:
            yield _LOOK_AGAIN
        return OK
    server.snapshots_running += 1
    server.snapshots += 1
    dump = HeapDump(server.host, server.snapshots)
    pace = Pace(server.snapshot_rate)
    try:
        for message in dump.events():
            if message is None:
                yield None
                continue
            if not server.audience():
                break  # nobody would get it
            while (wait := pace.wait) > 0:
                yield wait
            pace.spend(server.publisher.publish([message]))
    finally:
        server.snapshots_running -= 1
        dump.close()
    return OK
