"""Lines on standard error, which may be missing or closed."""

from __future__ import annotations

import sys

__all__ = ["say"]


def say(text: str) -> bool:
    """Writes lines to standard error and returns whether that succeeded; never raises.

    An embedding program may have none (None, or no attribute), a daemon has closed it, and its reader may be gone.
    """
    stream = getattr(sys, "stderr", None)
    if stream is None:
        return False
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError, AttributeError):
        return False
    return True
