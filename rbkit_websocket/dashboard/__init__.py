"""What is served at ``mount`` over plain HTTP."""

from __future__ import annotations

from .app import pages, respond_at_mount

__all__ = ["pages", "respond_at_mount"]
