"""The gate: the token, the page's origin and the application's own ``authorize`` callable. Closed by default."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from ..errors import Refused
from ..fleet.records import application_key
from ..options.values import Authorize
from ..websocket.handshake import query

__all__ = ["Gate"]

log = logging.getLogger(__name__)

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Gate:
    """Decides about requests of one application.

    Args:
        name: the application's name; the cookie is named after it, so that two applications of one host do not
            overwrite each other's.
        token: the token that a request must bring, or None where none is needed.
        authorize: called with the environ of a request that brought the token; its word is final.
        allowed_origins: origins besides the Host's own, lower case; ``"*"`` is any.
    """

    def __init__(
        self,
        name: str,
        token: str | None,
        authorize: Authorize | None = None,
        allowed_origins: tuple[str, ...] = (),
    ) -> None:
        self._token = token
        self._authorize = authorize
        self._origins = allowed_origins
        self.cookie_name = f"rbkit_{application_key(name)}"
        # The cookie proves that its bearer knew the token without being the token.
        self.cookie_value = (
            hmac.new(token.encode(), b"rbkit cookie", hashlib.sha256).hexdigest() if token is not None else ""
        )

    def check(self, environ: dict[str, Any]) -> None:
        """Lets a request pass or refuses it.

        Raises:
            Refused: 403 for a foreign origin, 401 for a missing or wrong token, 403 where ``authorize`` says no
                (or fails: a gate that cannot be checked stays shut).
        """
        self._check_origin(environ)
        if self._token is not None and not self._has_token(environ):
            raise Refused(
                "401 Unauthorized",
                "the token is missing or wrong. Send it as ?token=..., or as Authorization: Bearer ...; the server "
                "printed it when it started first and keeps it in its runtime directory",
                (("WWW-Authenticate", 'Bearer realm="rbkit"'),),
            )
        if self._authorize is not None:
            try:
                allowed = self._authorize(environ)
            except Exception:
                log.exception("rbkit: authorize() failed, the request is refused")
                allowed = False
            if not allowed:
                raise Refused("403 Forbidden", "the application's authorize() refused this request")

    def is_token(self, candidate: str) -> bool:
        """Whether ``candidate`` is the token, compared in constant time."""
        return self._token is not None and _same(candidate, self._token)

    def _check_origin(self, environ: Mapping[str, Any]) -> None:
        # Browsers send Origin with every WebSocket, programs send none: this stops a foreign page from riding on the
        # cookie (RFC 6455 section 10.2).
        origin = environ.get("HTTP_ORIGIN")
        if origin is None or "*" in self._origins or origin.strip().lower() in self._origins:
            return
        if not _same_host(origin.strip().lower(), environ.get("HTTP_HOST", "").strip().lower()):
            raise Refused(
                "403 Forbidden",
                f"a page of {origin!r} may not connect here; if it should, add that to allowed_origins. Behind a "
                "proxy, see that it passes the Host header on",
            )

    def _has_token(self, environ: Mapping[str, Any]) -> bool:
        if self.is_token(query(environ).get("token", "")):
            return True
        scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(credentials.strip()):
            return True
        # By hand: http.cookies stops at the first malformed pair, and the application's cookies may be of any kind.
        pairs = (pair.strip().partition("=") for pair in environ.get("HTTP_COOKIE", "").split(";"))
        return any(name == self.cookie_name and _same(value, self.cookie_value) for name, _, value in pairs)


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode("utf-8", "surrogateescape"), b.encode("utf-8", "surrogateescape"))


def _same_host(origin: str, host: str) -> bool:
    """Whether an origin's host and port are those of the Host header.

    The scheme is left out: behind a proxy that ends TLS the application does not know it.
    """
    try:
        there = urlsplit(origin)
        port = _DEFAULT_PORTS.get(there.scheme)
        here = urlsplit(f"//{host}")
        return bool(there.hostname) and (there.hostname, there.port or port) == (here.hostname, here.port or port)
    except ValueError:  # a port that is no number
        return False
