"""Serves the dashboard's page and its files, and nothing else."""

from __future__ import annotations

from typing import Any, Final

from ..responses import StartResponse, send
from . import bundle

__all__ = ["redirect", "serve_file"]

# All parts of the page come from this origin; 'self' covers its WebSocket too (CSP 3). No inline script or style: text
# of a server can never become one.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

_HEADERS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # Kept, and asked for every time: after an upgrade no browser runs an old page against a new server.
    ("Cache-Control", "no-cache"),
    ("Vary", "Accept-Encoding"),
)

_MISSING: Final = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>rbkit: no dashboard</title>
<h1>This installation has no dashboard</h1>
<p>rbkit_websocket was installed from its sources where npm could not be reached or failed, so the dashboard was not
built. Everything else works: the Python client, and any Rbkit client.</p>
<p>To get it, in the environment of this application:</p>
<ul>
<li>install a released wheel, which brings it: <code>pip install --force-reinstall --only-binary :all:
rbkit_websocket</code>;</li>
<li>or build it again where npm's registry can be reached: <code>RBKIT_DASHBOARD=require pip install .</code> in the
sources, which says what is wrong if it fails.</li>
</ul>
<p>Then restart the application.</p>
</html>
"""


def serve_file(environ: dict[str, Any], start_response: StartResponse, name: str) -> list[bytes]:
    """One file of the bundle by its name; the empty name is the page.

    Where the bundle is missing the page says how to get it.
    """
    try:
        found = bundle.asset(name or bundle.INDEX)
    except OSError:
        return _send(environ, start_response, "200 OK" if not name else "404 Not Found", _MISSING, [])
    zipped = _accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")) and len(found.zipped) < len(found.body)
    etag = found.zipped_etag if zipped else found.etag
    if _matches(environ.get("HTTP_IF_NONE_MATCH", ""), etag):
        return send(environ, start_response, "304 Not Modified", b"", [("ETag", etag), *_HEADERS])
    headers = [("Content-Type", found.content_type), ("ETag", etag)]
    if zipped:
        headers.append(("Content-Encoding", "gzip"))
    return _send(environ, start_response, "200 OK", found.zipped if zipped else found.body, headers)


def redirect(environ: dict[str, Any], start_response: StartResponse, mount: str) -> list[bytes]:
    """Redirects from the mount to the mount with a slash, which the page's relative addresses need.

    The target is relative: a proxy may have put a prefix before it that the application does not know. The browser
    keeps the fragment, and with it the token.
    """
    headers = [("Location", f"{mount.rpartition('/')[2]}/"), ("Cache-Control", "no-store")]
    return send(environ, start_response, "307 Temporary Redirect", b"", headers)


def _send(
    environ: dict[str, Any], start_response: StartResponse, status: str, body: bytes, headers: list[tuple[str, str]]
) -> list[bytes]:
    kind = [] if headers else [("Content-Type", "text/html; charset=utf-8")]
    return send(environ, start_response, status, body, [*kind, *headers, *_HEADERS])


def _accepts_gzip(accepted: str) -> bool:
    """Whether gzip may be sent (RFC 9110 section 12.5.3)."""
    for entry in accepted.lower().split(","):
        coding, _, parameters = entry.partition(";")
        if coding.strip() in ("gzip", "*"):
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _matches(condition: str, etag: str) -> bool:
    """Whether If-None-Match names ``etag``; compared weakly (RFC 9110 section 13.1.2)."""
    candidates = [candidate.strip().removeprefix("W/") for candidate in condition.split(",")]
    return etag in candidates or "*" in candidates
