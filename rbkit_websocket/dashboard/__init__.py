"""What is served at ``mount`` over plain HTTP."""

from __future__ import annotations

from .app import respond_at_mount

__all__ = ["respond_at_mount"]
