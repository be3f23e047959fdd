"""The application's own address, if its web server tells it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

__all__ = ["application_url"]

_PLACEHOLDER: Final = "<address of this application>"


def application_url(environ: Mapping[str, Any]) -> str:
    """The application's address with its mount, over TLS where this server speaks it."""
    # A proxy's word on the scheme is about its own connections, and the address below is not the proxy's.
    forwarded = any(key.startswith("HTTP_X_FORWARDED_") for key in environ)
    scheme = "https" if environ.get("wsgi.url_scheme") == "https" and not forwarded else "http"
    return f"{scheme}://{_address(environ)}{quote(environ.get('SCRIPT_NAME', ''), encoding='latin-1')}"


def _address(environ: Mapping[str, Any]) -> str:
    """The address where this server listens, if the server tells it.

    Never from the Host header: the client of the first request would choose where the printed address leads.
    """
    name, port = environ.get("SERVER_NAME", ""), str(environ.get("SERVER_PORT", ""))
    if not port.isdecimal():
        return _PLACEHOLDER
    try:
        # Behind a Unix socket gunicorn makes up SERVER_NAME from the Host header, and there is no client address.
        ipaddress.ip_address(environ.get("REMOTE_ADDR", ""))
        if name in ("localhost", socket.gethostname()):  # some servers give their own address so
            return f"localhost:{port}"
        address = ipaddress.ip_address(name)
    except ValueError:
        return _PLACEHOLDER
    host = "127.0.0.1" if address.is_unspecified else f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{port}"
