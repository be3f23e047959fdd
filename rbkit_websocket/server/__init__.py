"""The embedded Rbkit server, protocol 2.1: Rbkit's API of three calls, and the middleware's."""

from __future__ import annotations

from .api import start_profiling, start_server, stop_server
from .embedded import EmbeddedAddress, current_server, ensure_embedded
from .server import Server

__all__ = [
    "EmbeddedAddress",
    "Server",
    "current_server",
    "ensure_embedded",
    "start_profiling",
    "start_server",
    "stop_server",
]
