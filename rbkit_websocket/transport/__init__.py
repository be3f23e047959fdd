"""Connections of a machine's workers to each other's embedded servers: over a Unix socket, without libzmq.

libzmq ends the process where its listener gets no descriptor, and has threads of its own. These connections raise.
"""

from __future__ import annotations

from .local_connection import LocalConnection
from .wire import LOCAL, endpoint_path

__all__ = ["LOCAL", "LocalConnection", "endpoint_path"]
