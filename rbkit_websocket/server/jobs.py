"""Commands that take their time, as generators that the server's loop takes turns with."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final

from ..profilers.heap.python_walk import dump_event
from ..profilers.heap.snapshot import SnapshotRefused
from ..protocol.codec import pack
from ..protocol.constants import OK
from ..system.clock import time
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
    """Publishes the heap; one that is asked for while another runs waits for that one.

    What is published is what ``snapshot_start`` would make, or is making: all of it is in a file before the first
    message goes out, so that the total is exact and the process's own memory does not grow with it.
    """
    if server.snapshots_running > 0:
        while server.snapshots_running > 0:
            yield _LOOK_AGAIN
        return OK
    server.snapshots_running += 1
    server.snapshots += 1
    correlation_id = server.snapshots
    pace = Pace(server.snapshot_rate)
    try:
        if not server.audience():
            return OK  # nobody would get it
        taken = server.heap.start()
        taken.holders += 1
        try:
            while taken.state == "running":
                yield _LOOK_AGAIN
            if taken.state == "failed":
                return pack({"error": "failed", "message": taken.message})
            chunks, total = taken.chunks or 0, taken.objects or 0
            for number in range(chunks):
                while (wait := pace.wait) > 0:
                    yield wait
                if not server.audience():
                    break  # the last one has gone
                event = dump_event(correlation_id, total, *taken.chunk(number))
                pace.spend(server.publisher.publish([event]))
                yield None
        finally:
            taken.holders -= 1
    except SnapshotRefused as error:
        return pack({"error": "refused", "message": str(error)})
    finally:
        server.snapshots_running -= 1
    return OK
