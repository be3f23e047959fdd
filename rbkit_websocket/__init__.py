"""Live profiling of a running Python web application through one WebSocket on its own port.

Importing this package starts nothing and imports neither gevent nor ZeroMQ, so it may stand above
``monkey.patch_all()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "ClientError",
    "CommandFailed",
    "CommandTimeout",
    "ConfigurationError",
    "ConnectionClosed",
    "ConnectionRefused",
    "ProtocolError",
    "RbkitError",
    "RbkitWebsocket",
    "RuntimeDirectoryError",
    "ServerStartError",
    "close_sessions",
    "connect",
    "ensure_started",
    "start_profiling",
    "start_server",
    "stop_server",
]

if TYPE_CHECKING:
    from .client import connect
    from .errors import (
        ClientError,
        CommandFailed,
        CommandTimeout,
        ConfigurationError,
        ConnectionClosed,
        ConnectionRefused,
        ProtocolError,
        RbkitError,
        RuntimeDirectoryError,
        ServerStartError,
    )
    from .middleware import RbkitWebsocket, ensure_started
    from .server import start_profiling, start_server, stop_server
    from .websocket.keeper import close_sessions

_HOME = {
    "RbkitWebsocket": ".middleware",
    "close_sessions": ".websocket.keeper",
    "connect": ".client",
    "ensure_started": ".middleware",
    "start_profiling": ".server",
    "start_server": ".server",
    "stop_server": ".server",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME.get(name, ".errors"), __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
