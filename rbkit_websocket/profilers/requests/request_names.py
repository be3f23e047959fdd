"""Names of requests: the method and the route, or the method and a path in which numbers and the like are folded.

Names go into flame graphs, terminals and logs, so they hold nothing secret and nothing that a terminal would obey, and
there are not many of them: no query string, no header, no identifiers, a bounded length.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

from ...system.clock import time

__all__ = ["MAX_LENGTH", "ROUTE", "RequestNames"]

ROUTE: Final = "rbkit.route"
"""The key of the environ under which the application says which route serves the request."""

MAX_LENGTH: Final = 120
# A scanner asks for thousands of paths that do not exist. Beyond this many names a minute a request is <other>.
MAX_NAMES: Final = 500
_PERIOD: Final = 60.0
_LONGEST_READ: Final = 2000

_METHOD: Final = re.compile(r"[A-Z]{1,16}")
_EXTENSION: Final = r"(\.[A-Za-z][A-Za-z0-9]{0,4})?"
# Kinds of a whole segment of a path, the most particular first; a file name's extension stays.
_FOLDS: Final = tuple(
    (re.compile(f"(?:{pattern}){_EXTENSION}", re.IGNORECASE), name)
    for pattern, name in (
        (r"[+-]?[0-9]+", "<int>"),
        (r"[+-]?[0-9]+\.[0-9]+", "<float>"),
        (r"\{?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\}?", "<uuid>"),
        (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "<date>"),
        (r"(?=[a-f]*[0-9])[0-9a-f]{8,}|[0-9a-f]{16,}", "<hex>"),
        (r"[^@]+@[^@]+", "<email>"),
        # Sessions, signatures, links to set a new password: long, and with digits in them.
        (r"(?=.*[0-9])[\w~:=+-]{20,}|[\w~:=+.-]{40,}", "<token>"),
    )
)
_DIGITS: Final = re.compile(r"[0-9]{3,}")

# Method, and either mount and path, or route and None.
_Key: TypeAlias = "tuple[str, str, str | None]"


class RequestNames:
    """Names of requests, kept so that a second one of the same path costs a look into a dictionary."""

    def __init__(self) -> None:
        self._known: dict[_Key, str] = {}
        self._names: set[str] = set()
        self._since = time.monotonic()
        # The name for a folded path once its route is known; None: there is more than one route.
        self._routes: dict[str, str | None] = {}
        self._learnt: set[_Key] = set()

    def of(self, environ: object) -> str:
        """The name of the request with this environ. Never raises because of the environ's content.

        There is no ``except`` for that: a signal's handler may run in here, and its exception is the application's.
        """
        if not isinstance(environ, dict):
            return "?"
        method, route = _text(environ, "REQUEST_METHOD"), _text(environ, ROUTE)
        # Both together stay the same where a dispatcher moves parts from one to the other.
        by_path: _Key = (method, _text(environ, "SCRIPT_NAME"), _text(environ, "PATH_INFO"))
        if not route:
            name = self._known.get(by_path)
            return self.settled(name if name is not None else self._new(by_path))
        by_route: _Key = (method, route, None)
        name = self._known.get(by_route)
        if name is None:
            name = self._new(by_route)
        if by_path not in self._learnt:
            self._learn(by_path, name)
        return name

    def settled(self, name: str) -> str:
        """The present name of a request with this name: before it is routed, its name comes from the path."""
        return self._routes.get(name) or name

    def _learn(self, by_path: _Key, name: str) -> None:
        if len(self._learnt) > 20 * MAX_NAMES or len(self._routes) > 20 * MAX_NAMES:
            self._learnt.clear()
            self._routes.clear()
        self._learnt.add(by_path)
        folded = _made(by_path)
        if self._routes.setdefault(folded, name) != name:
            self._routes[folded] = None

    def _new(self, key: _Key) -> str:
        now = time.monotonic()
        if now - self._since > _PERIOD or len(self._known) > 20 * MAX_NAMES:
            self._known.clear()
            self._names.clear()
            self._since = now
        name = _made(key)
        if name not in self._names and not self._routes.get(name):
            if len(self._names) >= MAX_NAMES:
                return f"{name.partition(' ')[0]} <other>"
            self._names.add(name)
        self._known[key] = name
        return name


def _made(key: _Key) -> str:
    given, route, path = key
    method = given if _METHOD.fullmatch(given) else "?"
    where = _printable(route) if path is None else fold(route + path)
    name = f"{method} {where}"
    return name if len(name) <= MAX_LENGTH else name[: MAX_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _text(environ: dict[str, Any], key: str) -> str:
    # A plain str: a class that only looks like one has methods of its own, which may do anything.
    value = dict.get(environ, key)
    return value if type(value) is str else ""


def fold(path: str) -> str:
    """A WSGI path (bytes as latin-1) as text, with each number, uuid, date, token and address replaced by its kind."""
    text = path[:_LONGEST_READ].encode("latin-1", "replace").decode("utf-8", "replace")
    return "/".join(map(_fold_segment, text.split("/"))) or "/"


def _fold_segment(segment: str) -> str:
    # Parameters of a segment are where sessions used to be: /shop;jsessionid=...
    segment = segment.partition(";")[0]
    for pattern, name in _FOLDS:
        if found := pattern.fullmatch(segment):
            return name + (found[1] or "")
    return _printable(_DIGITS.sub("<int>", segment))


def _printable(text: str) -> str:
    text = text[:_LONGEST_READ]
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
