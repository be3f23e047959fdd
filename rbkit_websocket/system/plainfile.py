"""Reads a small file, which may be a FIFO, a device, a directory or an endless file by now."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["read_plain"]


def read_plain(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """The content and the facts of a file; never waits, never follows a symbolic link.

    Args:
        most: the greatest size in bytes.

    Raises:
        OSError: it cannot be read, is no regular file, or is longer.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        data = os.read(descriptor, most + 1)
        if len(data) > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return data, facts
    finally:
        os.close(descriptor)
