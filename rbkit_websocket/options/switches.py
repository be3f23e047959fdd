"""Switches for an emergency: environment variables that are no options."""

from __future__ import annotations

from ..system.environment import variable
from .values import is_false

__all__ = ["is_enabled", "native_wanted"]


def is_enabled() -> bool:
    """False when ``RBKIT_ENABLED`` is 0, false, no or off: the middleware then passes everything through."""
    return not is_false(variable("RBKIT_ENABLED") or "")


def native_wanted() -> bool:
    """False when ``RBKIT_NATIVE`` is 0, false, no or off: the fallbacks then stand in for the C extensions."""
    return not is_false(variable("RBKIT_NATIVE") or "")
