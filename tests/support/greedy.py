"""An application whose threads take all descriptors there are and give them back, again and again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from rbkit_websocket import RbkitWebsocket
from rbkit_websocket.system.unpatched import original

_stopped = False


def _take_and_give_back() -> None:
    while not _stopped:
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        for descriptor in taken:
            os.close(descriptor)


def _app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    global _stopped
    if environ["PATH_INFO"] == "/take":
        for _ in range(2):
            original("_thread", "start_new_thread")(_take_and_give_back, ())
    elif environ["PATH_INFO"] == "/stop":
        _stopped = True
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def application() -> Any:
    return RbkitWebsocket(_app)
