"""One snapshot of the heap: its method, its state, its chunks.

Three methods; the best possible one is taken:

``fork``
    A forked child walks its copy of the memory in C, so that the process stops for the fork alone (some 20 ms per
    gigabyte). The child is C code only: none of Python's, gevent's or the application's hooks run in it. It closes
    every descriptor but its output, ends with the server's thread, and is the first that the kernel kills when memory
    runs out. Not taken where ``snapshot_fork`` is off, where memory limits leave no room for it (``why`` says which),
    or where the system is not Linux.
``in-process``
    The same walk in this process, which stands still meanwhile (up to 300 ms per million objects); not taken where
    ``snapshot_pause`` is off, and then there is no snapshot.
``python``
    Without the extension module: see :mod:`.python_walk`. Slower by an order of magnitude, in slices of a
    millisecond but for a few steps that grow with the heap.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from types import ModuleType
from typing import Final, Literal

from ...native.loader import NativeUnavailable, extension
from ...protocol.commands.memory import SnapshotAnswer
from ...system.clock import time
from ..base import Host
from .dumpfile import DumpFile, open_unnamed
from .memory_limits import Needs, needs, shortage
from .python_walk import HeapDump

__all__ = ["Snapshot", "SnapshotRefused", "native", "usual_method"]

native: ModuleType | None = None
_without = ""
try:
    native = extension("_heap")
except NativeUnavailable as reason:
    _without = str(reason)

_LOOK_AGAIN: Final = 0.01
_REPORT: Final = struct.Struct("=2Q")
_ROOTS, _PROGRESS, _DONE, _ERROR = 1, 2, 3, 4
_MOST_SECONDS: Final = 300
_GONE_WITHIN: Final = 2.0

Method = Literal["fork", "in-process", "python"]


class SnapshotRefused(Exception):
    """No snapshot can be made; the text says why and what would help."""


def usual_method(fork: bool) -> str:
    """The method of snapshots in this process if memory allows it, for the handshake."""
    if native is None:
        return f"python: {_without}"
    if not native.CAN_FORK:
        return "in-process: this system has no fork for it"
    return "fork" if fork else "in-process: snapshot_fork is off"


class Snapshot:
    """A snapshot. :meth:`begin`, then :meth:`make` to its end; :meth:`close` at last. For one thread, the server's.

    Args:
        number: its id.
        host: the process.
        fork: whether a child may be forked.
        pause: whether the process may stand still for the whole walk.
        directories: candidates for the file, see :func:`~.dumpfile.directories`.

    Attributes:
        state: ``running``, ``done`` or ``failed``.
        method: ``fork``, ``in-process`` or ``python``.
        why: why no better method was taken; empty for the best.
        message: what went wrong, if it failed.
        expected: objects that the collector knows; there will be more. None until known.
        so_far: objects written.
        pause_ms: how long the process stood still; None for ``python``, which takes many short turns.
        time: when it was begun, in milliseconds since the epoch.
        duration_ms: how long it took; None while it runs.
        pid: of the child, while there is one.
        used: time of the last use by a client, monotonic.
        holders: the number of readers at the moment.
    """

    def __init__(self, number: int, host: Host, *, fork: bool, pause: bool, directories: list[str]) -> None:
        self.id = number
        self.state: Literal["running", "done", "failed"] = "running"
        self.method: Method = "python"
        self.why = ""
        self.message = ""
        self.expected: int | None = None
        self.so_far = 0
        self.pause_ms: float | None = None
        self.time = time.time() * 1000
        self.duration_ms: float | None = None
        self.pid: int | None = None
        self.used = self._began = time.monotonic()
        self.holders = 0
        self._host = host
        self._fork = fork
        self._pause = pause
        self._directories = directories
        self._file: DumpFile | None = None
        self._reports = -1

    @property
    def objects(self) -> int | None:
        """The number of objects; None until known."""
        return self._file.objects if self.state == "done" and self._file is not None else None

    @property
    def chunks(self) -> int | None:
        """The number of chunks; None until known."""
        return self._file.chunks if self.state == "done" and self._file is not None else None

    def facts(self) -> SnapshotAnswer:
        """The answer to ``snapshot_start``."""
        answer: SnapshotAnswer = {
            "id": self.id,
            "state": self.state,
            "method": self.method,
            "why": self.why,
            "objects": self.objects,
            "chunks": self.chunks,
            "bytes": self._file.size if self.state == "done" and self._file is not None else None,
            "objects_so_far": self.so_far,
            "objects_expected": self.expected,
            "pause_ms": self.pause_ms,
            "duration_ms": self.duration_ms,
            "time": self.time,
        }
        if self.message:
            answer["message"] = self.message
        return answer

    def begin(self) -> None:
        """Chooses the method, and forks if that is the method.

        Raises:
            SnapshotRefused: no method is possible.
        """
        need = needs()
        try:
            descriptor, in_memory = open_unnamed(self._directories, need.file)
        except OSError as error:
            raise SnapshotRefused(
                f"no directory takes a file of {need.file >> 20} MiB ({error}); set TMPDIR to one that does"
            ) from error
        self._file = DumpFile(descriptor)
        try:
            self._choose(need, in_memory)
        except SnapshotRefused:
            self.close()
            raise

    def _choose(self, need: Needs, in_memory: bool) -> None:
        if native is None:
            self.why = _without
            return
        if not native.CAN_FORK:
            self.why = "this system has no fork for it"
        elif not self._fork:
            self.why = "snapshot_fork is off"
        else:
            self.why = shortage(need, forked=True, file_in_memory=in_memory) or self._begin_child()
            if not self.why:
                self.method = "fork"
                return
        if not self._pause:
            raise SnapshotRefused(f"no child can be forked ({self.why}), and snapshot_pause is off")
        if lack := shortage(need, forked=False, file_in_memory=in_memory):
            raise SnapshotRefused(f"there is no room for a snapshot: {lack}")
        self.method = "in-process"

    def _begin_child(self) -> str:
        """Forks; returns the reason if that fails, else an empty text."""
        assert native is not None
        assert self._file is not None
        try:
            self.pid, self._reports, took = native.fork_dump(self._file.descriptor, _MOST_SECONDS)
        except OSError as error:
            return f"fork failed: {error.strerror}"
        self.pause_ms = took / 1e6
        return ""

    def make(self) -> Iterator[float | None]:
        """Makes the snapshot; yields as the server's jobs do. ``state`` and ``message`` tell of a failure."""
        assert self._file is not None
        ways = {"fork": self._watch_child, "in-process": self._walk, "python": self._walk_in_python}
        try:
            yield from ways[self.method](self._file)
            self._file.read_end()
            self.so_far = self._file.objects
            self.state = "done"
        except (OSError, SnapshotRefused) as error:
            self.state = "failed"
            self.message = str(error)
        self.used = time.monotonic()
        self.duration_ms = (self.used - self._began) * 1000
        if self.state == "failed":
            self._drop_file()
        # A child with much memory takes a while to give it back at its end.
        while not self._reaped():
            yield _LOOK_AGAIN

    def _walk(self, file: DumpFile) -> Iterator[float | None]:
        assert native is not None
        yield None
        _, took = native.dump(file.descriptor)
        self.pause_ms = took / 1e6

    def _walk_in_python(self, file: DumpFile) -> Iterator[float | None]:
        dump = HeapDump(self._host, self.id)
        try:
            for chunk in dump.chunks():
                if chunk is not None:
                    file.append(chunk[1])
                    self.so_far += chunk[0]
                    self.expected = dump.total
                yield None
        finally:
            dump.close()
        file.seal(self.so_far)

    def _watch_child(self, _file: DumpFile) -> Iterator[float | None]:
        while True:
            try:
                data = os.read(self._reports, 4096)
            except BlockingIOError:
                yield _LOOK_AGAIN
                continue
            if not data:
                raise SnapshotRefused("the child that made it ended early: it was killed, or crashed")
            for kind, value in _REPORT.iter_unpack(data):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError(value, os.strerror(value))
                if kind == _ROOTS:
                    self.expected = value
                elif kind == _PROGRESS:
                    self.so_far = value

    def _reaped(self, kill: bool = False) -> bool:
        """Whether no child is left; the pipe is closed first, which ends a child that still writes to it."""
        reports, self._reports = self._reports, -1
        if reports >= 0:
            os.close(reports)
        if self.pid is not None and native is not None and native.reap(self.pid, kill):
            self.pid = None
        return self.pid is None

    def chunk(self, number: int) -> tuple[int, bytes]:
        """The number of objects in a chunk of a finished snapshot, and their packed bytes.

        Raises:
            IndexError: there is no such chunk.
            OSError: it cannot be read.
        """
        assert self._file is not None
        self.used = time.monotonic()
        return self._file.chunk(number)

    def close(self) -> None:
        """Ends the work under way, and gives the file up."""
        deadline = time.monotonic() + _GONE_WITHIN
        while not self._reaped(kill=True) and time.monotonic() < deadline:
            # time.sleep may be gevent's.
            lock = self._host.allocate_lock()
            lock.acquire()
            lock.acquire(True, 0.002)
        if self.state == "running":
            self.state = "failed"
            self.message = "the server has ended it"
        self._drop_file()

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()

    def after_in_child(self) -> None:
        """Closes the descriptors in a child that the application forked; the parent goes on with the snapshot."""
        self.pid = None
        self._reaped()
        self._drop_file()
