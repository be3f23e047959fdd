"""Originals of functions that gevent may have patched."""

from __future__ import annotations

import importlib
from typing import Any

from .loaded import loaded

__all__ = ["original"]


def original(module: str, name: str) -> Any:
    """``module.name`` as it was before gevent patched it."""
    monkey = loaded("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(importlib.import_module(module), name)
