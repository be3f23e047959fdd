"""Parses a person's URL into the parts of an upgrade request. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, unquote, unquote_plus, urlsplit, urlunsplit

from ..errors import ConfigurationError

__all__ = ["Address", "parse_url"]

_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


@dataclass(frozen=True)
class Address:
    """An address to connect to.

    Attributes:
        url: ``ws://`` or ``wss://`` URL for the upgrade request; it holds no token.
        host: host name or IP address, without brackets.
        port: TCP port.
        secure: whether TLS is spoken.
        token: for the ``Authorization`` header, or None.
    """

    url: str
    host: str
    port: int
    secure: bool
    token: str | None = field(repr=False)

    @property
    def loopback(self) -> bool:
        """True for this machine: no proxy can stand between."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_url(url: str, *, token: str | None = None, server: str | None = None) -> Address:
    """``url`` (ws, wss, http or https; its own query is kept) as an :class:`Address`.

    A ``token=`` in the query or the fragment (the dashboard's address has it there) is taken out: a header is not
    logged, a URL is. ``token`` wins over both. ``frames=binary`` is added because the server may have another default.

    Raises:
        ConfigurationError: no such URL, or a token that cannot stand in a header.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{url!r} is no URL: {error}") from None
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not parts.hostname:
        raise ConfigurationError(f"{url!r} is no URL of a server: it looks like ws://127.0.0.1:8000/ or https://host/")

    kept, found = [], []
    for piece in parts.query.split("&"):
        name, _, value = piece.partition("=")
        name = unquote_plus(name)
        if name == "token":
            found.append(unquote_plus(value))
        elif piece and name != "frames" and not (name == "server" and server is not None):
            kept.append(piece)
    # No form: a + is a +, and all of it is the token. Unescaped characters stand for themselves.
    if behind := re.search(r"(?:^|&)token=(.*)", parts.fragment):
        found.append(unquote(behind[1]))
    if server is not None:
        kept.append("server=" + quote(server, safe=""))
    kept.append("frames=binary")

    secret = token if token is not None else next(iter(found), None)
    if secret is not None and not re.fullmatch(r"[\x21-\x7e]+", secret):
        raise ConfigurationError("a token is visible ASCII characters without spaces")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # A user name and password in the URL would need the header that carries the token, so they are left out.
    location = host if port is None else f"{host}:{port}"
    return Address(
        url=urlunsplit((scheme, location, parts.path or "/", "&".join(kept), "")),
        host=parts.hostname,
        port=port or (443 if scheme == "wss" else 80),
        secure=scheme == "wss",
        token=secret,
    )
