"""Modules that the application imports."""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["import_gevent", "is_importing", "loaded"]


def loaded(name: str) -> Any:
    """The module of that name once it has been imported to its end, else None.

    ``sys.modules`` has a module as soon as its import begins. While another thread imports it, anything may be missing
    in it, and its effects, gevent's patches for instance, have not happened yet.
    """
    module = sys.modules.get(name)
    return None if _is_begun(module) else module


def is_importing(package: str) -> bool:
    """Whether a thread is in the midst of importing the package or a module of it: another import would wait."""
    return any(
        _is_begun(module)
        for name, module in list(sys.modules.items())
        if name == package or name.startswith(f"{package}.")
    )


def _is_begun(module: object) -> bool:
    # The import system's own mark (importlib/_bootstrap.py, _find_and_load).
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def import_gevent() -> None:
    """Imports gevent whole, before modules of ours that need it are imported during a request.

    gevent's modules import each other in circles. Of two threads that begin with different modules the import system
    lets one go on with half a module, to avoid a deadlock. Here all threads begin with the same module and wait.

    Raises:
        ImportError: it cannot be imported here.
    """
    importlib.import_module("rbkit_websocket.system.eventloop")
