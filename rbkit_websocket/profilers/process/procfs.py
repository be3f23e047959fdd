"""Files of /proc, where there is one (proc(5))."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["SELF_STATUS", "fields", "lines"]

SELF_STATUS: Final = Path("/proc/self/status")


def lines(path: Path) -> list[str]:
    """The lines of a file; none where it cannot be read."""
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def fields(path: Path, unit: int = 1024) -> dict[str, int]:
    """Lines such as ``Name: 12 kB`` or ``name 12``, in bytes."""
    found = {}
    for line in lines(path):
        name, value, *_ = [*line.replace(":", " ", 1).split(), "", ""]
        if value.isdigit():
            found[name] = int(value) * unit
    return found
