"""A process whose first requests come while another thread is in the midst of importing MODULE.

``python -m support.halfway MODULE``: prints ``fine`` when everything that does not need the module has worked.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from .waiting import wait_until

BEGUN, GO_ON, GAVE_UP = threading.Event(), threading.Event(), threading.Event()


class Held(importlib.abc.Loader):
    """A loader that waits before it runs the module."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        BEGUN.set()
        if not GO_ON.wait(60):
            GAVE_UP.set()
        self._loader.exec_module(module)


class Holder(importlib.abc.MetaPathFinder):
    """Has the import of one module wait."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if name != self._name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None, name
        spec.loader = Held(spec.loader)
        return spec


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def main(name: str) -> None:
    sys.meta_path.insert(0, Holder(name))
    thread = threading.Thread(target=importlib.import_module, args=(name,))
    thread.start()
    assert BEGUN.wait(30), "nobody imports it"

    from rbkit_websocket import RbkitWebsocket, ensure_started, stop_server
    from rbkit_websocket.server.embedded import current_server

    try:
        wrapped = RbkitWebsocket(application)
        ensure_started()
        answer = list(wrapped({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None))
        assert answer == [b"hello"]
        server = current_server()
        assert server, "the server has not started"
        answers: list[bytes] = []
        server.respond_callback = answers.append
        for command in ("handshake", "start_cpu_profiling", "start_memory_profile", "stacks", "status", "blocked"):
            server.process_incoming_request(command)
        wait_until(lambda: len(answers) == 6, "the answers", timeout=10)
        assert name in sys.modules
        assert not GAVE_UP.is_set(), "the application has waited for the import"
        print("fine", flush=True)
    finally:
        stop_server()
        GO_ON.set()
        thread.join()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(sys.argv[1])
