"""Checks whether the process or the socket named by a file in the runtime directory still exists."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

__all__ = ["boot_id", "is_own_process", "is_zombie", "pid_namespace", "process_start", "socket_answers"]

_ZOMBIE: Final = -1
# A look that fails for lack of these says nothing about the process.
_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def is_own_process(pid: int) -> bool:
    """Whether a process of this user has that pid, a zombie included."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False  # not permitted: the pid belongs to another user by now
    return True


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (proc(5), stat field 22); None where there is no /proc.

    A zombie counts as not started.

    Raises:
        OSError: no descriptor is left for the look.
    """
    data = _system_file(f"/proc/{pid}/stat")
    if data is None:
        return None
    fields = data[data.rindex(b")") + 2 :].split()  # the command name may hold anything, parentheses too
    return _ZOMBIE if fields[0] == b"Z" else int(fields[19])


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and only waits for its parent to notice."""
    return process_start(pid) == _ZOMBIE


def boot_id() -> str | None:
    """The identity of this machine's present boot (random(4)); None where there is no /proc.

    Raises:
        OSError: no descriptor is left for the look.
    """
    data = _system_file("/proc/sys/kernel/random/boot_id")
    return None if data is None else data.decode("ascii", "replace").strip()


def _system_file(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return None


def pid_namespace() -> str | None:
    """The namespace of this process's pids: ``pid:[4026531836]`` (pid_namespaces(7)); None without /proc."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def socket_answers(path: str) -> bool:
    """Whether a process listens at a Unix socket, in any namespace and however busy.

    The kernel answers for the listener, so this takes microseconds.

    Raises:
        OSError: no descriptor is left for the look.
    """
    # Not socket.socket, which gevent may have patched: a connection to a Unix socket never waits.
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return error.errno == errno.EAGAIN  # its backlog is full, so there is one
    finally:
        connection.close()
    return True
