"""Memory limits, and whether they leave room for a forked child that walks the heap.

Such a child shares its parent's memory until one of them writes to it. It writes little itself: its tables, a few bytes
an object. But each page that the parent writes to meanwhile exists twice, so that a busy parent may need its whole
memory again. This module reckons with half of it, and with all of it where the kernel kills a control group as a whole
(``memory.oom.group``), because there a wrong guess would not kill the child alone.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..interpreters import undisturbed
from ..process.procfs import fields, lines

__all__ = ["Needs", "needs", "shortage"]

# Kernels write "no limit" as a number near 2**63.
_NO_LIMIT: Final = 1 << 60
_TABLES: Final = 16 << 20
_TABLE_BYTES: Final = 16
# Bytes; Python's blocks have more on average. So many blocks fit at most where their number cannot be asked for.
_LEAST_BLOCK: Final = 32
_FILE_BYTES: Final = 160
_MIB: Final = 1 << 20


@dataclass(frozen=True)
class Needs:
    """Memory that a dump of this process takes, in bytes, estimated beforehand.

    Attributes:
        private: the process's own memory, which may exist twice.
        tables: working memory of the walk.
        file: size of the file.
    """

    private: int
    tables: int
    file: int


def needs(root: Path = Path("/")) -> Needs:
    """The needs of this process now."""
    status = fields(root / "proc/self/status")
    private = status.get("RssAnon", status.get("VmRSS", 0))
    blocks = undisturbed(sys.getallocatedblocks)
    if blocks is None:
        blocks = private // _LEAST_BLOCK
    return Needs(private, _TABLES + blocks * _TABLE_BYTES, blocks * _FILE_BYTES)


def shortage(need: Needs, *, forked: bool, file_in_memory: bool, root: Path = Path("/")) -> str | None:
    """The limit that leaves no room for a dump by a forked child (else: in this process), in words; None: there is.

    Args:
        need: of this process.
        forked: whether a child makes it.
        file_in_memory: whether the file is one that takes memory.
        root: where proc and the control groups are.
    """
    wanted = need.tables + (need.file if file_in_memory else 0)
    # The limit of the address space is each process's own; a child begins with its parent's.
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit not in (resource.RLIM_INFINITY, -1):
        left = limit - fields(root / "proc/self/status").get("VmSize", 0)
        if left < need.tables:
            return f"RLIMIT_AS leaves {_mib(left)}, {_mib(need.tables)} are needed"
    if forked:
        wanted += need.private if _dies_as_a_group(root) else need.private // 2
    for left, what in _limits(root):
        if left < wanted:
            return f"{what} leaves {_mib(left)}, {_mib(wanted)} are needed"
    return None


def _mib(size: int) -> str:
    return f"{max(0, size) / _MIB:.0f} MiB"


def _limits(root: Path) -> Iterator[tuple[int, str]]:
    """Bytes that each limit leaves, with its name."""
    available = fields(root / "proc/meminfo").get("MemAvailable")
    if available is not None:
        yield available, "MemAvailable"
    for directory, version in _groups(root):
        names = ("memory.max", "memory.current", "inactive_file")
        if version == 1:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        limit, usage = _number(directory / names[0]), _number(directory / names[1])
        if limit is not None and usage is not None and limit < _NO_LIMIT:
            # The kernel drops unused pages of files before it kills a process.
            spare = fields(directory / "memory.stat", 1).get(names[2], 0)
            yield limit - usage + spare, f"the control group's {names[0]}"


def _dies_as_a_group(root: Path) -> bool:
    return any(_number(directory / "memory.oom.group") == 1 for directory, version in _groups(root) if version == 2)


def _groups(root: Path) -> Iterator[tuple[Path, int]]:
    """The directories of this process's control groups for memory, innermost first, with their version."""
    own: dict[int, str] = {}
    for line in lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            own[2] = path
        elif "memory" in controllers.split(","):
            own[1] = path
    for line in lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, *rest_after = after.split()
        version = {"cgroup": 1, "cgroup2": 2}.get(kind, 0)
        if version not in own or (version == 1 and "memory" not in rest_after[-1].split(",")):
            continue
        mount_root, mount_point = before.split()[3:5]
        top = root / mount_point.lstrip("/")
        # In a container the path may be one of the host's; the mount then shows our own group.
        inside = own[version].removeprefix(mount_root if mount_root != "/" else "").strip("/")
        directory = top / inside if ".." not in inside else top
        if not directory.is_dir():
            directory = top
        while True:
            yield directory, version
            if directory == top:
                break
            directory = directory.parent


def _number(path: Path) -> int | None:
    found = lines(path)
    return int(found[0]) if found and found[0].strip().isdigit() else None
