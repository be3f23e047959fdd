"""Snapshots of the heap for clients that pull: ``snapshot_start``, ``snapshot_status``, ``snapshot_chunk``.

``snapshot_start`` and ``snapshot_status <id>`` answer

==================  ==================================================================================================
Key                 Value
==================  ==================================================================================================
id                  the snapshot's number in this server
state               ``running``, ``done`` or ``failed``
method              ``fork``, ``in-process`` or ``python``
why                 why no better method was taken; empty for the best
objects, chunks     how many; null until it is done
bytes               size of all chunks; null until it is done
objects_so_far      objects written
objects_expected    objects that the collector knows, as a measure for progress (there will be more); null until known
pause_ms            how long the process stood still; null for ``python``, which takes many short turns
duration_ms         how long it took; null while it runs
time                when it was begun, in milliseconds since the epoch
message             only if it failed: why
==================  ==================================================================================================

While one is made, ``snapshot_start`` answers for that one. Where none can be made: ``{"error": "refused", ...}``.

``snapshot_chunk <id> <n>``, chunks counted from 0, answers ``id``, ``n``, ``state``, ``chunks``, ``total`` (objects of
the snapshot) and ``objects``: a list of at most 1000 of what is in an ``object_space_dump`` message,
``{3: id, 4: class, 5: [id, ...], 8: size, 6: file, 7: line}``, and where the class of an instance is known to be
somewhere ``16: file`` and (Python 3.13 and later) ``17: line`` of that class; what is not known is left out. While the
snapshot is made it answers what ``snapshot_status`` does, without ``objects``: ask again.

A finished snapshot can be had for ten minutes after it was last asked for; of several the two youngest. Its file has no
name and mode 600, so that nobody else reads it and nothing of it is left when the process ends.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

from ..profilers.base import array_header
from ..profilers.heap.dumpfile import directories
from ..profilers.heap.snapshot import Snapshot, SnapshotRefused
from ..protocol.codec import pack_map
from ..system.clock import time

if TYPE_CHECKING:
    from .server import Server

__all__ = ["HANDLERS", "Snapshots"]

KEPT_FOR: Final = 600.0
KEPT: Final = 2
_LOOK_AGAIN: Final = 5.0


class Snapshots:
    """Those of one server. Everything here is called by the server's thread, but for :meth:`after_in_child`.

    Args:
        server: the server.
        fork, pause: see :class:`~rbkit_websocket.profilers.heap.snapshot.Snapshot`.
        runtime_dir: a directory of our own, in case there is no other place for a file.
    """

    def __init__(self, server: Server, *, fork: bool, pause: bool, runtime_dir: str | None) -> None:
        self.fork = fork
        self._server = server
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
        """A new one, or the one that is being made.

        Raises:
            SnapshotRefused: none can be made.
        """
        for known in self._known.values():
            if known.state == "running":
                return known
        snapshot = Snapshot(
            self._count + 1,
            self._server.host,
            fork=self.fork,
            pause=self._pause,
            directories=directories(self._runtime_dir),
        )
        snapshot.begin()
        self._tidy(KEPT - 1)
        self._count += 1
        self._known[snapshot.id] = snapshot
        self._server.background(self._make(snapshot))
        if not self._watched:
            self._watched = True
            self._server.background(self._watch())
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
        """Removes what nobody has asked for in a while; at the server's end, everything."""
        try:
            while self._known:
                yield _LOOK_AGAIN
                self._tidy(KEPT)
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
        """After a fork, in the child: the parent's files and pipes are not ours."""
        for snapshot in self._known.values():
            snapshot.after_in_child()
        self._known.clear()


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": code, "message": message}


def _number(text: str) -> int | None:
    # No sign, no underscores, no digits of other scripts: what int() would take besides.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _start(server: Server, arguments: list[str]) -> dict[str, Any]:
    if arguments:
        return _error("bad_argument", "snapshot_start takes no argument")
    try:
        return server.heap.start().facts()
    except SnapshotRefused as error:
        return _error("refused", str(error))


def _status(server: Server, arguments: list[str]) -> dict[str, Any]:
    number = _number(arguments[0]) if len(arguments) == 1 else None
    if number is None:
        return _error("bad_argument", "snapshot_status takes one argument: the id that snapshot_start answered")
    snapshot = server.heap.find(number)
    return _unknown(number) if snapshot is None else snapshot.facts()


def _chunk(server: Server, arguments: list[str]) -> dict[str, Any] | bytes:
    numbers = [_number(argument) for argument in arguments]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return _error("bad_argument", "snapshot_chunk takes two numbers: the snapshot's id and the chunk's, from 0")
    snapshot = server.heap.find(numbers[0])
    if snapshot is None:
        return _unknown(numbers[0])
    if snapshot.state == "running":
        return {**snapshot.facts(), "n": numbers[1]}
    if snapshot.state == "failed":
        return _error("failed", snapshot.message)
    try:
        count, body = snapshot.chunk(numbers[1])
    except IndexError:
        return _error("bad_argument", f"snapshot {snapshot.id} has {snapshot.chunks} chunks, counted from 0")
    head = {
        "id": snapshot.id,
        "n": numbers[1],
        "state": snapshot.state,
        "chunks": snapshot.chunks,
        "total": snapshot.objects,
    }
    return pack_map(head, objects=array_header(count) + body)


def _unknown(number: int) -> dict[str, Any]:
    return _error("unknown_snapshot", f"there is no snapshot {number} (any more); snapshot_start makes one")


HANDLERS: Final = {"snapshot_start": _start, "snapshot_status": _status, "snapshot_chunk": _chunk}
