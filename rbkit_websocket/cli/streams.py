"""Standard input, output and error that were closed before this program began (``>&-``)."""

from __future__ import annotations

import os
import sys
from typing import Final

__all__ = ["give_up_output", "open_closed"]

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_closed() -> None:
    """Opens the null device in their place: the next socket would get the number, and the printed text."""
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            # Opened at the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="replace", closefd=False))


def give_up_output() -> None:
    """Drops text for standard output that cannot be written, so that the interpreter's end does not try again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
