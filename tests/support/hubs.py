"""Of gevent's hub in the main thread, which a test of gevent's leaves and which nothing runs afterwards."""

from __future__ import annotations

import sys


def without_hub() -> None:
    """Ends this thread's hub, if it has one.

    What the package makes in a thread with a hub lets go of objects in that hub. One that nobody runs never does, so
    that what is made here depends on which tests came before.
    """
    local = sys.modules.get("gevent._hub_local")
    hub = local.get_hub_if_exists() if local is not None else None
    if hub is not None:
        hub.destroy(destroy_loop=True)
