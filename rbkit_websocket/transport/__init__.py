"""How the workers of one machine talk with one another's embedded servers: over a Unix socket, without libzmq.

libzmq ends the process where its listener cannot get a descriptor, and has threads of its own. What is here raises.
"""

from __future__ import annotations

from .local_connection import LocalConnection
from .wire import LOCAL, endpoint_path

__all__ = ["LOCAL", "LocalConnection", "endpoint_path"]
