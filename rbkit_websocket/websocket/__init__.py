"""The WebSocket layer: frames, one outbox for all writes, sessions and their keeper."""

from __future__ import annotations

from .keeper import close_sessions, keep, release, session_count
from .session import Session

__all__ = ["Session", "close_sessions", "keep", "release", "session_count"]
