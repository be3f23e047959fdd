"""Modules that somebody else has imported, or is about to."""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["import_gevent", "loaded"]


def loaded(name: str) -> Any:
    """The module of that name once it has been imported to its end, else None.

    ``sys.modules`` has a module as soon as its import begins. While another thread runs it, anything may be missing in
    it, and of what it is for nothing has happened yet: what gevent's patches, say.
    """
    module = sys.modules.get(name)
    # The import system's own mark (importlib/_bootstrap.py, _find_and_load).
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module


def import_gevent() -> None:
    """Imports gevent whole, before whatever of ours is built on it is imported in the midst of a request.

    gevent's modules import each other in circles. Of two threads that begin with different ones the import system lets
    one go on with half a module, so that it does not wait for ever. Here all begin with one, and wait for its end.

    Raises:
        ImportError: it cannot be imported here.
    """
    importlib.import_module("rbkit_websocket.system.eventloop")
