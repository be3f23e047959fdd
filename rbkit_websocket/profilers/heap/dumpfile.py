"""A heap dump in a file without a name: chunks of packed objects, then an index, so that any chunk is read at once.

The layout is that of ``native/heap/module.c``. The file vanishes with its descriptor, however the process ends.
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ...protocol.constants import OBJECTS_PER_MESSAGE
from ...system.environment import variable

__all__ = ["DumpFile", "directories", "open_unnamed"]

_MAGIC: Final = 0x72626B6974686561
_TRAILER: Final = struct.Struct("=4Q")
_PLACE: Final = struct.Struct("=Q")
_SPAN: Final = struct.Struct("=2Q")


def directories(runtime: str | None = None) -> list[str]:
    """Directories for a dump, best first: temporary directories, then the runtime directory."""
    # Not tempfile.gettempdir(), which takes a lock that gevent may have patched.
    found = [variable(name) for name in ("TMPDIR", "TEMP", "TMP")]
    return [path for path in dict.fromkeys([*found, "/tmp", "/var/tmp", runtime]) if path]  # noqa: S108


def open_unnamed(candidates: Iterable[str], size: int) -> tuple[int, bool]:
    """A new file that only we can read and that no directory lists, with room for ``size`` bytes.

    Returns:
        Its descriptor, and whether its content takes memory (tmpfs); a disk is preferred.

    Raises:
        OSError: there is no room anywhere.
    """
    in_memory: int | None = None
    reason: OSError | None = None
    for directory in candidates:
        try:
            descriptor = _open(directory)
        except OSError as error:
            reason = reason or error
            continue
        room = os.fstatvfs(descriptor)
        if room.f_bavail * room.f_frsize < size:
            reason = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), directory)
            os.close(descriptor)
        elif not _is_in_memory(descriptor):
            if in_memory is not None:
                os.close(in_memory)
            return descriptor, False
        elif in_memory is None:
            in_memory = descriptor
        else:
            os.close(descriptor)
    if in_memory is not None:
        return in_memory, True
    raise reason or OSError(errno.ENOENT, "there is no directory for the dump")


def _open(directory: str) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(directory, flags | os.O_TMPFILE, 0o600)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
    path = os.path.join(directory, f"rbkit-{os.getpid()}-{secrets.token_hex(8)}")
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    os.unlink(path)
    return descriptor


def _is_in_memory(descriptor: int, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    device = os.fstat(descriptor).st_dev
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return False
    for line in lines:
        before, _, after = line.partition(b" - ")
        if before.split()[2:3] == [number]:
            return after.split()[0] in (b"tmpfs", b"ramfs")
    return False


class DumpFile:
    """A dump on its descriptor, which it owns.

    Attributes:
        objects: their number; 0 until :meth:`seal` or :meth:`read_end`.
        chunks: the number of chunks.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.objects = 0
        self.chunks = 0
        self._index = 0
        self._places: list[int] = []
        self._end = 0

    def append(self, body: bytes) -> None:
        """Writes the next chunk."""
        self._places.append(self._end)
        self._write(body)

    def seal(self, objects: int) -> None:
        """Writes the index behind the last chunk."""
        index, chunks = self._end, len(self._places)
        self._write(b"".join(map(_PLACE.pack, [*self._places, index])))
        self._write(_TRAILER.pack(_MAGIC, objects, chunks, index))
        self._places = []
        self.read_end()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self.descriptor, view)
            self._end += written
            view = view[written:]

    def read_end(self) -> None:
        """Reads the index at the end of the file.

        Raises:
            OSError: the file is not whole.
        """
        size = os.fstat(self.descriptor).st_size
        end = os.pread(self.descriptor, _TRAILER.size, max(0, size - _TRAILER.size))
        if len(end) != _TRAILER.size or (facts := _TRAILER.unpack(end))[0] != _MAGIC:
            raise OSError(errno.EIO, "the dump is not whole")
        _, self.objects, self.chunks, self._index = facts

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return self._index

    def chunk(self, number: int) -> tuple[int, bytes]:
        """The number of a chunk's objects, and their packed bytes.

        Raises:
            IndexError: there is no such chunk.
            OSError: it cannot be read.
        """
        if not 0 <= number < self.chunks:
            raise IndexError(number)
        span = os.pread(self.descriptor, _SPAN.size, self._index + number * _PLACE.size)
        begin, end = _SPAN.unpack(span)
        parts = []
        while begin < end:
            part = os.pread(self.descriptor, end - begin, begin)
            if not part:
                raise OSError(errno.EIO, "the dump is not whole")
            begin += len(part)
            parts.append(part)
        return min(OBJECTS_PER_MESSAGE, self.objects - number * OBJECTS_PER_MESSAGE), b"".join(parts)

    def close(self) -> None:
        """Gives the file up; twice is fine."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
