"""Snapshots of the heap, published or pulled: ``snapshot_start``, ``snapshot_status``, ``snapshot_chunk``.

While a snapshot is made, ``snapshot_start`` answers for that one. Where none can be made the answer is the error
``refused``.

A finished snapshot is kept for ten minutes after its last use; of several, the two youngest. Its file has no name and
mode 600, so that no other user reads it and nothing of it is left when the process ends.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

from ...profilers.base import Host
from ...profilers.heap.dumpfile import directories
from ...profilers.heap.snapshot import Snapshot, SnapshotRefused
from ...protocol.codec import array_header, pack_map
from ...protocol.commands.command import CommandError
from ...protocol.commands.memory import SnapshotAnswer, SnapshotMakingAnswer
from ...protocol.constants import OK
from ...protocol.packing import dump_event
from ...system.clock import time
from ..dispatch import Call, Handler
from ..publisher import Pace, Publisher
from ..scheduler import Job

__all__ = ["Dumps", "Snapshots", "commands"]

_LOOK_AGAIN: Final = 0.02
KEPT_FOR: Final = 600.0
SNAPSHOTS_KEPT: Final = 2
_TIDY_EVERY: Final = 5.0


class Snapshots:
    """The snapshots of one server. Everything here is called by the server's thread, but for :meth:`after_in_child`.

    Args:
        host: the process.
        background: takes a job whose end no client waits for.
        fork, pause: see :class:`~rbkit_websocket.profilers.heap.snapshot.Snapshot`.
        runtime_dir: a directory of our own, in case there is no other place for a file.
    """

    def __init__(
        self, host: Host, background: Callable[[Job], None], *, fork: bool, pause: bool, runtime_dir: str | None
    ) -> None:
        self.fork = fork
        self._host = host
        self._background = background
        self._pause = pause
        self._runtime_dir = runtime_dir
        self._count = 0
        self._known: dict[int, Snapshot] = {}
        self._watched = False

    def find(self, number: int) -> Snapshot | None:
        """The snapshot of that id, if it is still there."""
        found = self._known.get(number)
        if found is not None:
            found.used = time.monotonic()
        return found

    def start(self) -> Snapshot:
        """A new snapshot, or the one that is being made.

        Raises:
            SnapshotRefused: none can be made.
        """
        for known in self._known.values():
            if known.state == "running":
                return known
        snapshot = Snapshot(
            self._count + 1,
            self._host,
            fork=self.fork,
            pause=self._pause,
            directories=directories(self._runtime_dir),
        )
        snapshot.begin()
        self._tidy(SNAPSHOTS_KEPT - 1)
        self._count += 1
        self._known[snapshot.id] = snapshot
        self._background(self._make(snapshot))
        if not self._watched:
            self._watched = True
            self._background(self._watch())
        return snapshot

    def _make(self, snapshot: Snapshot) -> Generator[float | None, None, None]:
        ended = False
        try:
            yield from snapshot.make()
            ended = True
        finally:
            if not ended:
                snapshot.close()

    def _watch(self) -> Generator[float | None, None, None]:
        """Removes snapshots unused for a while; at the server's end, all."""
        try:
            while self._known:
                yield _TIDY_EVERY
                self._tidy(SNAPSHOTS_KEPT)
        finally:
            self._watched = False
            for snapshot in self._known.values():
                snapshot.close()
            self._known.clear()

    def _tidy(self, keep: int) -> None:
        old = time.monotonic() - KEPT_FOR
        idle = [one for one in self._known.values() if one.state != "running" and not one.holders]
        surplus = len(idle) - keep
        for number, snapshot in enumerate(idle):
            if number < surplus or snapshot.used < old:
                del self._known[snapshot.id]
                snapshot.close()

    def after_in_child(self) -> None:
        """Closes files and pipes in a forked child: they are the parent's."""
        for snapshot in self._known.values():
            snapshot.after_in_child()
        self._known.clear()


class Dumps:
    """Snapshots that are published, one at a time.

    Args:
        snapshots: makes them.
        publisher: sends them.
        audience: tells whether there is a subscriber.
        rate: bytes a second.

    Attributes:
        count: the number asked for, without those that waited for another.
        running: the number on their way.
    """

    def __init__(self, snapshots: Snapshots, publisher: Publisher, audience: Callable[[], bool], rate: int) -> None:
        self._snapshots = snapshots
        self._publisher = publisher
        self._audience = audience
        self._rate = rate
        self.count = 0
        self.running = 0

    def publish(self) -> Job:
        """Publishes the heap; one that is asked for while another runs waits for that one.

        It publishes a snapshot of ``snapshot_start``, a new one or the one being made. All of it is in a file before
        the first message goes out, so that the total is exact and the process's own memory does not grow with it.
        """
        if self.running > 0:
            while self.running > 0:
                yield _LOOK_AGAIN
            return OK
        self.running += 1
        self.count += 1
        correlation_id = self.count
        pace = Pace(self._rate)
        try:
            if not self._audience():
                return OK  # no client would get it
            taken = self._snapshots.start()
            taken.holders += 1
            try:
                while taken.state == "running":
                    yield _LOOK_AGAIN
                if taken.state == "failed":
                    raise CommandError("failed", taken.message)
                chunks, total = taken.chunks or 0, taken.objects or 0
                for number in range(chunks):
                    while (wait := pace.wait) > 0:
                        yield wait
                    if not self._audience():
                        break  # the last subscriber has gone
                    event = dump_event(time.time() * 1000, correlation_id, total, *taken.chunk(number))
                    pace.spend(self._publisher.publish([event]))
                    yield None
            finally:
                taken.holders -= 1
        except SnapshotRefused as error:
            raise CommandError("refused", str(error)) from error
        finally:
            self.running -= 1
        return OK


def commands(snapshots: Snapshots, dumps: Dumps) -> dict[str, Handler]:
    """Handlers of the commands.

    Args:
        snapshots: for clients that pull.
        dumps: for subscribers.
    """

    def start(_call: Call) -> SnapshotAnswer:
        try:
            return snapshots.start().facts()
        except SnapshotRefused as error:
            raise CommandError("refused", str(error)) from error

    def find(number: int) -> Snapshot:
        found = snapshots.find(number)
        if found is None:
            raise CommandError(
                "unknown_snapshot", f"there is no snapshot {number} (any more); snapshot_start makes one"
            )
        return found

    def status(call: Call) -> SnapshotAnswer:
        return find(call.first).facts()

    def chunk(call: Call) -> SnapshotMakingAnswer | bytes:
        snapshot, number = find(call.first), call.arguments[1]
        if snapshot.state == "running":
            return {**snapshot.facts(), "n": number}
        if snapshot.state == "failed":
            raise CommandError("failed", snapshot.message or "")
        try:
            count, body = snapshot.chunk(number)
        except IndexError:
            raise CommandError(
                "bad_argument", f"snapshot {snapshot.id} has {snapshot.chunks} chunks, counted from 0"
            ) from None
        head = {
            "id": snapshot.id,
            "n": number,
            "state": snapshot.state,
            "chunks": snapshot.chunks,
            "total": snapshot.objects,
        }
        return pack_map(head, objects=array_header(count) + body)

    return {
        "objectspace_snapshot": lambda _call: dumps.publish(),
        "snapshot_start": start,
        "snapshot_status": status,
        "snapshot_chunk": chunk,
    }
