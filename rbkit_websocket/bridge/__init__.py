"""The bridge between a WebSocket session and an Rbkit server: commands to REQ, publications from SUB."""

from __future__ import annotations

from .bridge import Bridge

__all__ = ["Bridge"]
