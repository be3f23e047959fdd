"""Settings: keyword arguments first, then environment variables, then defaults; checked once, frozen afterwards."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import signal as signals
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal

from .errors import ConfigurationError
from .protocol.constants import PORT_RANGE
from .system import started
from .transport.binding import Binding

__all__ = [
    "Settings",
    "check_port",
    "default_name",
    "from_environment",
    "is_enabled",
    "native_wanted",
    "signal_number",
]

Authorize = Callable[[dict[str, Any]], bool]

_FALSE: Final = frozenset({"0", "false", "no", "off"})
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_ENDPOINT: Final = re.compile(r"[a-z][a-z0-9+]*://\S+")

MIB: Final = 1024 * 1024


def is_enabled(environ: Mapping[str, str] = os.environ) -> bool:
    """False when ``RBKIT_ENABLED`` is 0, false, no or off: the middleware then passes everything through."""
    return environ.get("RBKIT_ENABLED", "").strip().lower() not in _FALSE


def native_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """False when ``RBKIT_NATIVE`` is 0, false, no or off: the fallbacks then stand in for the C extensions."""
    return environ.get("RBKIT_NATIVE", "").strip().lower() not in _FALSE


def default_name() -> str:
    """The application's name where none is given: workers of one command line in one directory of one user share it."""
    try:
        directory = os.getcwd()
    except OSError:
        directory = ""  # a release directory that the next deployment has removed, or that this user may not see
    facts = "\0".join([str(os.geteuid()), directory, *started.command_line()])
    return "app-" + hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:12]


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


def from_environment(option: str, environ: Mapping[str, str] = os.environ) -> Any:
    """One option of the middleware for those who use the embedded server without it: its variable, else its default.

    Raises:
        ConfigurationError: the variable has a value that cannot work.
    """
    variable = f"RBKIT_{option.upper()}"
    value = environ.get(variable, "").strip()
    if not value:
        return getattr(Settings, option)
    try:
        return _OPTIONS[option](value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{variable}={value!r}: {error}") from None


@dataclass(frozen=True)
class Settings:
    """All options of the middleware; docs/options.rst says what each is for.

    Sizes are bytes, times are seconds.
    """

    pub_endpoint: str | None = None
    req_endpoint: str | None = None
    name: str = ""
    # Whether somebody has chosen the name, or it is a hash.
    named: bool = True
    # Where the application was wrapped.
    module: str = ""
    token: str | Literal[False] | None = None
    authorize: Authorize | None = None
    allowed_origins: tuple[str, ...] = ()
    mount: str = "/__rbkit__"
    frames: Literal["binary", "text"] = "binary"
    # A heap snapshot of a big process takes the better part of a minute; anything slower is stuck.
    command_timeout: float = 60.0
    # How long a session waits for the Rbkit server when it connects, and to come back when it went away.
    connect_timeout: float = 2.0
    max_sessions: int = 32
    max_commands: int = 64
    # Commands are short words. gevent-websocket unmasks in Python, so the size is what a hostile client can cost us.
    max_message: int = 64 * 1024
    backlog: int = 64 * MIB
    # A thousand objects of a snapshot are some 100 KiB, and one of them may have millions of references, 9 bytes each.
    max_server_message: int = 32 * MIB
    # What the Ruby middleware uses; under the 30 s and 60 s idle limits of common proxies.
    ping_interval: float = 15.0
    pub_port: int | None = None
    req_port: int | None = None
    bind_host: str = "127.0.0.1"
    insecure_bind: bool = False
    curve_secret_key_file: str | None = None
    curve_authorized_keys_dir: str | None = None
    curve_server_key_file: str | None = None
    linger: float = 10.0
    snapshot_rate: int = 20_000_000
    request_names: bool = True
    # gunicorn kills a worker that is silent for 30 s; what did it should be in the log well before.
    blocked_log: float = 5.0
    snapshot_fork: bool = True
    snapshot_pause: bool = True
    runtime_dir: str | None = None
    # None: the sampler's default.
    signal: int | None = None

    @classmethod
    def from_options(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Settings:
        """Settings from keywords (None = not given), the ``RBKIT_*`` variables in ``environ`` and the defaults.

        Raises:
            ConfigurationError: an option that cannot work; the text names it and says what would.
        """
        values: dict[str, Any] = {}
        for option, parse in _OPTIONS.items():
            value = options.pop(option, None)
            source = option
            # RBKIT_PUB_PORT and RBKIT_REQ_PORT are the ports of start_server(), as in Rbkit: not ours.
            if value is None and option not in ("pub_port", "req_port"):
                variable = f"RBKIT_{option.upper()}"
                # Set but empty is how deployment tools spell "not set"; an empty token must never open the door.
                value = environ.get(variable, "").strip() or None
                source = variable
            if value is None:
                continue
            if option != "token":  # a mistyped secret is one nevertheless, and errors end up in logs
                source += f"={value!r}"
            try:
                values[option] = parse(value)
            except ConfigurationError as error:
                raise ConfigurationError(f"{source}: {error}") from None
        if options:
            raise TypeError(f"unknown option {', '.join(sorted(options))}")
        if ("pub_endpoint" in values) != ("req_endpoint" in values):
            raise ConfigurationError(
                "pub_endpoint and req_endpoint go together: give both to use another Rbkit server, none for the "
                "embedded one"
            )
        values = {"name": default_name(), "named": "name" in values, **values}
        settings = cls(**values)
        if settings.pub_port is not None or settings.req_port is not None:
            settings.binding()
        if not settings.embedded and (settings.curve_secret_key_file is None) != (
            settings.curve_server_key_file is None
        ):
            raise ConfigurationError(
                "curve_secret_key_file and curve_server_key_file go together: this side's own key, and the public key "
                "of the Rbkit server"
            )
        return settings

    def binding(self) -> Binding:
        """Where and how ``pub_port`` and ``req_port`` are bound.

        Raises:
            ConfigurationError: see :class:`Binding`.
        """
        return Binding(self.bind_host, self.curve_secret_key_file, self.curve_authorized_keys_dir, self.insecure_bind)

    @property
    def title(self) -> str:
        """What people read: the name that was chosen, else what was started."""
        return self.name if self.named else started.title(self.module)

    @property
    def embedded(self) -> bool:
        """True when the Rbkit server is the one inside this process."""
        return self.pub_endpoint is None


def _endpoint(value: Any) -> str:
    if not isinstance(value, str) or not _ENDPOINT.fullmatch(value):
        raise ConfigurationError("a ZeroMQ endpoint looks like tcp://127.0.0.1:5555 or ipc:///run/rbkit.pub")
    if value.startswith("inproc://"):
        raise ConfigurationError("inproc:// cannot be reached from the bridge's ZeroMQ context; bind ipc:// or tcp://")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 200:
        raise ConfigurationError("a name is printable text of 1 to 200 characters")
    return value


def _token(value: Any) -> str | Literal[False]:
    if value is False or (isinstance(value, str) and value.lower() in _FALSE):
        return False
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{8,}", value):
        raise ConfigurationError("a token is at least 8 visible ASCII characters (or False for no token at all)")
    return value


def _authorize(value: Any) -> Authorize:
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


def _origins(value: Any) -> tuple[str, ...]:
    try:
        origins = tuple(value.replace(",", " ").split()) if isinstance(value, str) else tuple(value)
    except TypeError:
        raise ConfigurationError("give a list of origins such as https://ops.example.com") from None
    for origin in origins:
        if not isinstance(origin, str) or not re.fullmatch(r"\*|null|[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s]+", origin):
            raise ConfigurationError(f"an origin looks like https://ops.example.com (no path), not {origin!r}")
    return tuple(origin.lower() for origin in origins)


def _mount(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/?", value):
        raise ConfigurationError("a mount is a path such as /__rbkit__")
    return value.rstrip("/")


def _frames(value: Any) -> str:
    if value not in ("binary", "text"):
        raise ConfigurationError("frames are binary or text")
    return str(value)


def _flag(value: Any) -> bool:
    word = str(value).strip().lower()
    if word in _FALSE:
        return False
    if word in _TRUE:
        return True
    raise ConfigurationError("give True or False (1, true, yes, on or 0, false, no, off)")


def _path(what: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        try:
            path = os.fsdecode(value)
        except TypeError:
            path = ""
        if not os.path.isabs(path):
            raise ConfigurationError(f"{what} is an absolute path")
        return path

    return parse


def _host(value: Any) -> str:
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


def _number(kind: Callable[[Any], Any], least: float, most: float) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        try:
            number = kind(value)
        except (TypeError, ValueError):
            number = None
        if number is None or isinstance(value, bool) or not least <= number <= most:
            raise ConfigurationError(f"give a number from {least:g} to {most:g}")
        return number

    return parse


_OPTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "pub_endpoint": _endpoint,
    "req_endpoint": _endpoint,
    "name": _name,
    "token": _token,
    "authorize": _authorize,
    "allowed_origins": _origins,
    "mount": _mount,
    "frames": _frames,
    "command_timeout": _number(float, 0.05, 86400),
    "connect_timeout": _number(float, 0.05, 60),
    "max_sessions": _number(int, 1, 10_000),
    "max_commands": _number(int, 1, 10_000),
    "max_message": _number(int, 125, 16 * MIB),
    "backlog": _number(int, 64 * 1024, 16 * 1024 * MIB),
    "max_server_message": _number(int, 64 * 1024, 1024 * MIB),
    "ping_interval": _number(float, 0.05, 3600),
    "pub_port": check_port,
    "req_port": check_port,
    "linger": _number(float, 0, 86400),
    "snapshot_rate": _number(int, 100_000, 10_000_000_000),
    "request_names": _flag,
    "blocked_log": _number(float, 0, 86400),
    "snapshot_fork": _flag,
    "snapshot_pause": _flag,
    "bind_host": _host,
    "insecure_bind": _flag,
    "curve_secret_key_file": _path("the file with this side's secret key"),
    "curve_authorized_keys_dir": _path("the directory with the clients' public keys"),
    "curve_server_key_file": _path("the file with the server's public key"),
    "runtime_dir": _path("the runtime directory"),
    "signal": signal_number,
}
