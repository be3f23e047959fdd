"""``status``: what the listing of all servers says of each. Cheap: nothing is counted until it is asked for.

============  ========================================================================================================
Key           Value
============  ========================================================================================================
pid           int, as the process itself knows it
application   str
server_id     str
started       float: seconds since the epoch at which the server started
rss           int: bytes of memory that the process holds; null where there is no ``/proc``
requests      int: requests of the application now, from the call of its function until their body has been sent
              (under uWSGI until that function has returned), those for rbkit's own pages and sessions left out; null
              without the middleware, or with ``request_names=False``
sessions      int: rbkit sessions that this process carries for anybody
============  ========================================================================================================
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..fleet import sessions
from ..profilers.greenlets.stacks import innermost_frames
from ..profilers.process.procfs import SELF_STATUS, fields
from ..profilers.requests.tracker import REQUESTS

if TYPE_CHECKING:
    from .server import Server

__all__ = ["status"]


def status(server: Server) -> dict[str, Any]:
    """The answer; see this module's docstring. Works whatever the application's threads do."""
    return {
        "pid": os.getpid(),
        "application": server.application,
        "server_id": server.id,
        "started": server.started,
        "rss": fields(SELF_STATUS).get("VmRSS"),
        "requests": _requests(server),
        "sessions": sessions.count(),
    }


def _requests(server: Server) -> int | None:
    if REQUESTS.entry is None:
        return None
    with innermost_frames(server.host, server.profiling.greenlets) as frames:
        return REQUESTS.count(frames)
