"""The blocking client of a profiled application: :func:`connect` and its result."""

from __future__ import annotations

from .client import Client, connect

__all__ = ["Client", "connect"]
