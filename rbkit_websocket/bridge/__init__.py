"""From one WebSocket session to one Rbkit server: commands to REQ, publications from SUB."""

from __future__ import annotations

from .bridge import Bridge

__all__ = ["Bridge"]
