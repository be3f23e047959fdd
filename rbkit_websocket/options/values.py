"""Checks of option values, one for each kind of value; a check returns the value as it is used.

Raises:
    ConfigurationError: the value cannot work; the text says what would, and the caller puts the option's name in front.
"""

from __future__ import annotations

import ipaddress
import os
import re
import signal as signals
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Literal

from ..errors import ConfigurationError
from ..protocol.constants import PORT_RANGE

__all__ = [
    "Authorize",
    "authorize",
    "check_port",
    "endpoint",
    "flag",
    "frames",
    "host",
    "is_false",
    "mount",
    "name",
    "number",
    "origins",
    "path",
    "signal_number",
    "token",
]

Authorize = Callable[[dict[str, Any]], bool]

_FALSE: Final = frozenset({"0", "false", "no", "off"})
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_ENDPOINT: Final = re.compile(r"[a-z][a-z0-9+]*://\S+")


def is_false(word: str) -> bool:
    """Whether the word means no."""
    return word.strip().lower() in _FALSE


def check_port(port: Any) -> int:
    """``port`` as an int of 1024..65000.

    Raises:
        ConfigurationError: anything else (protocol: "Invalid port value").
    """
    try:
        number = int(port)
    except (TypeError, ValueError):
        number = -1
    if number not in PORT_RANGE or isinstance(port, (bool, float)):
        raise ConfigurationError(
            f"Invalid port value {port!r}: use a number from {PORT_RANGE[0]} to {PORT_RANGE[-1]}, or None for no socket"
        )
    return number


def endpoint(value: Any) -> str:
    """A ZeroMQ endpoint that the bridge can connect to."""
    if not isinstance(value, str) or not _ENDPOINT.fullmatch(value):
        raise ConfigurationError("a ZeroMQ endpoint looks like tcp://127.0.0.1:5555 or ipc:///run/rbkit.pub")
    if value.startswith("inproc://"):
        raise ConfigurationError("inproc:// cannot be reached from the bridge's ZeroMQ context; bind ipc:// or tcp://")
    return value


def name(value: Any) -> str:
    """Printable text of 1 to 200 characters."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 200:
        raise ConfigurationError("a name is printable text of 1 to 200 characters")
    return value


def token(value: Any) -> str | Literal[False]:
    """Eight visible ASCII characters or more, or False."""
    if value is False or (isinstance(value, str) and value.lower() in _FALSE):
        return False
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{8,}", value):
        raise ConfigurationError("a token is at least 8 visible ASCII characters (or False for no token at all)")
    return value


def authorize(value: Any) -> Authorize:
    """A callable, or the ``module:attribute`` of one."""
    if isinstance(value, str):
        module, colon, attribute = value.partition(":")
        if not (module and colon):
            raise ConfigurationError("name the callable as module:attribute")
        try:
            value = getattr(import_module(module), attribute)
        except (ImportError, AttributeError, TypeError) as error:  # TypeError: a relative name
            raise ConfigurationError(f"cannot be imported: {error}") from error
    if not callable(value):
        raise ConfigurationError("give a callable that takes the WSGI environ and returns True or False")
    return value  # type: ignore[no-any-return]


def origins(value: Any) -> tuple[str, ...]:
    """Origins in lower case, from a list or from a text with commas or spaces between them."""
    try:
        origins = tuple(value.replace(",", " ").split()) if isinstance(value, str) else tuple(value)
    except TypeError:
        raise ConfigurationError("give a list of origins such as https://ops.example.com") from None
    for origin in origins:
        if not isinstance(origin, str) or not re.fullmatch(r"\*|null|[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s]+", origin):
            raise ConfigurationError(f"an origin looks like https://ops.example.com (no path), not {origin!r}")
    return tuple(origin.lower() for origin in origins)


def mount(value: Any) -> str:
    """A path without a slash at its end."""
    if not isinstance(value, str) or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/?", value):
        raise ConfigurationError("a mount is a path such as /__rbkit__")
    return value.rstrip("/")


def frames(value: Any) -> str:
    """``binary`` or ``text``."""
    if value not in ("binary", "text"):
        raise ConfigurationError("frames are binary or text")
    return str(value)


def flag(value: Any) -> bool:
    """True or False, or a word for either."""
    word = str(value).strip().lower()
    if word in _FALSE:
        return False
    if word in _TRUE:
        return True
    raise ConfigurationError("give True or False (1, true, yes, on or 0, false, no, off)")


def path(what: str) -> Callable[[Any], str]:
    """Makes a check for an absolute path; ``what`` names it in the error."""

    def parse(value: Any) -> str:
        try:
            found = os.fsdecode(value)
        except TypeError:
            found = ""
        if not os.path.isabs(found):
            raise ConfigurationError(f"{what} is an absolute path")
        return found

    return parse


def host(value: Any) -> str:
    """An IP address of this machine, or ``*``."""
    if value != "*":
        try:
            ipaddress.ip_address(value if isinstance(value, str) else "")
        except ValueError:
            raise ConfigurationError("give an IP address of this machine, or * for all of them") from None
    return str(value)


def signal_number(value: Any) -> int | None:
    """A real-time signal by number, as ``SIGRTMIN+3`` or as ``SIGRTMAX-3``; 0 for none, None for the default.

    Raises:
        ConfigurationError: anything else.
    """
    if value is None:
        return None
    least, most = getattr(signals, "SIGRTMIN", 1), getattr(signals, "SIGRTMAX", 64)
    named = re.fullmatch(r"(SIGRTMIN|SIGRTMAX)(?:([+-])([0-9]{1,2}))?", value) if isinstance(value, str) else None
    if named:
        offset = int(named[3] or 0) * (-1 if named[2] == "-" else 1)
        number = (least if named[1] == "SIGRTMIN" else most) + offset
    elif isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 4:
        number = int(value)
    else:
        number = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if number != 0 and not least <= number <= most:
        raise ConfigurationError(f"give a real-time signal: {least} to {most}, a name like SIGRTMIN+12, or 0 for none")
    return int(number)


def number(kind: Callable[[Any], Any], least: float, most: float) -> Callable[[Any], Any]:
    """Makes a check for a number of this kind from ``least`` to ``most``, both included."""

    def parse(value: Any) -> Any:
        try:
            number = kind(value)
        except (TypeError, ValueError):
            number = None
        if number is None or isinstance(value, bool) or not least <= number <= most:
            raise ConfigurationError(f"give a number from {least:g} to {most:g}")
        return number

    return parse
