"""Lines for whoever started the program, where there may be nobody, and nothing to write to."""

from __future__ import annotations

import sys

__all__ = ["say"]


def say(text: str) -> bool:
    """Writes lines to standard error and tells whether that has gone well; never raises.

    An embedding program may have none (None, or no attribute), a daemon has closed it, and who reads it may be gone.
    """
    stream = getattr(sys, "stderr", None)
    if stream is None:
        return False
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError, AttributeError):
        return False
    return True
