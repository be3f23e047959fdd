"""What this process runs, for people. An embedding program may have no ``sys.argv`` and no interpreter of its own."""

from __future__ import annotations

import os
import sys

__all__ = ["command_line", "process_name"]


def command_line() -> list[str]:
    """The arguments that the interpreter was started with; empty where a program has embedded it."""
    return _texts("orig_argv")


def process_name() -> str:
    """The script's file name, or of what ``python -m`` ran the package's; the interpreter's where there is neither."""
    script = (_texts("argv") or [""])[0]
    name = os.path.basename(script)
    if name == "__main__.py":
        name = os.path.basename(os.path.dirname(script))
    if name in ("", "-", "-c", "-m"):
        executable = getattr(sys, "executable", None)
        name = os.path.basename(executable if isinstance(executable, str) else "")
    return name or "python"


def _texts(name: str) -> list[str]:
    found = getattr(sys, name, None)
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
