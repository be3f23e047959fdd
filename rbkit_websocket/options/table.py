"""The one table of options. Keyword arguments come first, then environment variables, then defaults.

An option is one field of :class:`Settings` with its default, its check, its takers and a sentence, and one line of
:class:`Options` with the types of its value. Keywords, variables and the table in docs/options.rst follow from that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from enum import Flag, auto
from typing import Any, Final, Literal, TypedDict

from ..errors import ConfigurationError
from ..system import started
from ..system.environment import variable
from ..transport.binding import Binding
from . import values
from .values import Authorize

__all__ = ["OPTIONS", "Option", "Options", "ServerOptions", "Settings", "Taker", "default_name"]

MIB: Final = 1024 * 1024


class Taker(Flag):
    """Parts of the package that take an option."""

    MIDDLEWARE = auto()
    SERVER = auto()
    """``start_server()`` and ``start_profiling()``."""
    GATEWAY = auto()


BRIDGE: Final = Taker.MIDDLEWARE | Taker.GATEWAY
EMBEDDED: Final = Taker.MIDDLEWARE | Taker.SERVER
ALL: Final = BRIDGE | EMBEDDED

Path = str | os.PathLike[str]


class ServerOptions(TypedDict, total=False):
    """Keywords of ``start_server()``; None means "not given"."""

    bind_host: str | None
    insecure_bind: bool | None
    curve_secret_key_file: Path | None
    curve_authorized_keys_dir: Path | None
    linger: float | None
    snapshot_rate: int | None
    snapshot_fork: bool | None
    snapshot_pause: bool | None
    blocked_log: float | None
    signal: int | str | None


class Options(ServerOptions, total=False):
    """Keywords of the middleware; None means "not given"."""

    pub_endpoint: str | None
    req_endpoint: str | None
    curve_server_key_file: Path | None
    name: str | None
    token: str | Literal[False] | None
    authorize: Authorize | str | None
    allowed_origins: Iterable[str] | str | None
    mount: str | None
    frames: Literal["binary", "text"] | None
    command_timeout: float | None
    connect_timeout: float | None
    max_sessions: int | None
    max_commands: int | None
    max_message: int | None
    backlog: int | None
    max_server_message: int | None
    ping_interval: float | None
    pub_port: int | None
    req_port: int | None
    request_names: bool | None
    runtime_dir: Path | None


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: its keyword.
        default: None where there is none, or where it is computed.
        check: turns a given value into the one used, or raises ConfigurationError.
        takers: the parts that take it.
        variable: its environment variable; None where there is none.
        sentence: its purpose, in reStructuredText.
    """

    name: str
    default: Any
    check: Callable[[Any], Any]
    takers: Taker
    variable: str | None
    sentence: str


def _option(default: Any, check: Callable[[Any], Any], takers: Taker, sentence: str, *, variable: bool = True) -> Any:
    return field(
        default=default, metadata={"check": check, "takers": takers, "sentence": sentence, "variable": variable}
    )


def default_name() -> str:
    """The application's name where none is given: workers of one command line in one directory of one user share it."""
    try:
        directory = os.getcwd()
    except OSError:
        directory = ""  # a release directory that the next deployment has removed, or that this user may not see
    facts = "\0".join([str(os.geteuid()), directory, *started.command_line()])
    return "app-" + hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:12]


@dataclass(frozen=True)
class Settings:
    """Every option as it is used. Sizes are bytes, times are seconds; docs/options.rst tells more of each."""

    pub_endpoint: str | None = _option(
        None, values.endpoint, BRIDGE, "ZeroMQ endpoint where another Rbkit server publishes."
    )
    req_endpoint: str | None = _option(
        None, values.endpoint, BRIDGE, "ZeroMQ endpoint where another Rbkit server takes commands."
    )
    name: str = _option("", values.name, BRIDGE, "Which application this is.")
    token: str | Literal[False] | None = _option(
        None, values.token, BRIDGE, "The token that a client has to send; ``False``: none."
    )
    authorize: Authorize | None = _option(  # noqa: RUF009 - it makes a field
        None, values.authorize, BRIDGE, "A callable that decides about each request, or ``module:attribute``."
    )
    allowed_origins: tuple[str, ...] = _option(
        (), values.origins, BRIDGE, "Origins besides the Host's own whose pages may connect; ``*`` is any."
    )
    mount: str = _option("/__rbkit__", values.mount, BRIDGE, "Path below which the pages of this package are served.")
    frames: Literal["binary", "text"] = _option(
        "binary", values.frames, BRIDGE, "How messages are framed: ``binary``, or ``text`` for old browser clients."
    )
    # A heap snapshot of a big process takes the better part of a minute; anything slower is stuck.
    command_timeout: float = _option(
        60.0, values.number(float, 0.05, 86400), BRIDGE, "Seconds that a command may take."
    )
    connect_timeout: float = _option(
        2.0, values.number(float, 0.05, 60), BRIDGE, "Seconds that a session waits for the Rbkit server."
    )
    max_sessions: int = _option(32, values.number(int, 1, 10_000), BRIDGE, "Sessions that a worker carries at once.")
    max_commands: int = _option(
        64, values.number(int, 1, 10_000), BRIDGE, "Commands of one session that may wait for their turn."
    )
    # Commands are short words. gevent-websocket unmasks in Python, so the size is what a hostile client can cost us.
    max_message: int = _option(
        64 * 1024, values.number(int, 125, 16 * MIB), BRIDGE, "Bytes that a client's message may have."
    )
    backlog: int = _option(
        64 * MIB,
        values.number(int, 64 * 1024, 16 * 1024 * MIB),
        BRIDGE,
        "Bytes of publications that may wait for a client that reads slower than they come.",
    )
    # A thousand objects of a snapshot are some 100 KiB, and one of them may have millions of references, 9 bytes each.
    max_server_message: int = _option(
        32 * MIB,
        values.number(int, 64 * 1024, 1024 * MIB),
        BRIDGE,
        "Bytes that one message of an Rbkit server reached over ZeroMQ may have.",
    )
    # The Ruby middleware's interval; under the 30 s and 60 s idle limits of common proxies.
    ping_interval: float = _option(15.0, values.number(float, 0.05, 3600), BRIDGE, "Seconds between pings.")
    # RBKIT_PUB_PORT and RBKIT_REQ_PORT are the ports of start_server(), as in Rbkit: not the middleware's.
    pub_port: int | None = _option(
        None,
        values.check_port,
        Taker.MIDDLEWARE,
        "TCP port on which the embedded server publishes as well.",
        variable=False,
    )
    req_port: int | None = _option(
        None,
        values.check_port,
        Taker.MIDDLEWARE,
        "TCP port on which the embedded server takes commands as well.",
        variable=False,
    )
    bind_host: str = _option("127.0.0.1", values.host, EMBEDDED, "IP address of TCP ports; ``*``: all of this machine.")
    insecure_bind: bool = _option(
        False, values.flag, EMBEDDED, "Whether TCP ports may be reached from elsewhere without CURVE."
    )
    curve_secret_key_file: str | None = _option(
        None, values.path("the file with this side's secret key"), ALL, "File with this side's secret CURVE key."
    )
    curve_authorized_keys_dir: str | None = _option(
        None,
        values.path("the directory with the clients' public keys"),
        EMBEDDED,
        "Directory with the public CURVE keys of the clients that are let in.",
    )
    curve_server_key_file: str | None = _option(
        None,
        values.path("the file with the server's public key"),
        BRIDGE,
        "File with the public CURVE key of another Rbkit server.",
    )
    linger: float = _option(
        10.0,
        values.number(float, 0, 86400),
        EMBEDDED,
        "Seconds that profilers started by a command go on after the last subscriber has left.",
    )
    snapshot_rate: int = _option(
        20_000_000,
        values.number(int, 100_000, 10_000_000_000),
        EMBEDDED,
        "Bytes a second at which ``objectspace_snapshot`` publishes the heap.",
    )
    request_names: bool = _option(
        True, values.flag, Taker.MIDDLEWARE, "Whether samples, stacks and blocks tell the request they belong to."
    )
    # gunicorn kills a worker that is silent for 30 s; the cause should be in the log well before.
    blocked_log: float = _option(
        5.0,
        values.number(float, 0, 86400),
        EMBEDDED,
        "Seconds that one greenlet may keep the event loop before a warning names it; 0: none.",
    )
    snapshot_fork: bool = _option(True, values.flag, EMBEDDED, "Whether a forked child may take heap snapshots.")
    snapshot_pause: bool = _option(
        True, values.flag, EMBEDDED, "Whether the process may stand still for a heap snapshot where none can be forked."
    )
    runtime_dir: str | None = _option(
        None,
        values.path("the runtime directory"),
        BRIDGE,
        "Directory of the token, the records of the servers and their sockets.",
    )
    # None: the sampler's default.
    signal: int | None = _option(
        None, values.signal_number, EMBEDDED, "Real-time signal of the native sampler, where it needs one; 0: none."
    )
    # From here on no options. Whether the name was chosen, or is a hash.
    named: bool = True
    # Where the application was wrapped.
    module: str = ""
    # The options given by keyword or variable.
    given: frozenset[str] = frozenset()

    @classmethod
    def from_options(
        cls, environ: Mapping[str, str] = os.environ, taker: Taker = Taker.MIDDLEWARE, **options: Any
    ) -> Settings:
        """Settings from keywords (None = not given), the variables in ``environ`` and the defaults.

        Raises:
            ConfigurationError: a value that cannot work; the text names the option and says what would.
            TypeError: an unknown option, or one that this taker does not take.
        """
        found: dict[str, Any] = {}
        for option in OPTIONS.values():
            if taker not in option.takers:
                continue
            value, source = options.pop(option.name, None), option.name
            if value is None and option.variable is not None:
                # An empty token must never open the door: it counts as none.
                value, source = variable(option.variable, environ), option.variable
            if value is None:
                continue
            if option.name != "token":  # a mistyped secret is one nevertheless, and errors end up in logs
                source += f"={value!r}"
            try:
                found[option.name] = option.check(value)
            except ConfigurationError as error:
                raise ConfigurationError(f"{source}: {error}") from None
        if options:
            raise TypeError(_unknown(options, taker))
        given = frozenset(found)
        named = {"name": default_name(), "named": "name" in given} if taker in OPTIONS["name"].takers else {}
        settings = cls(**{**named, **found}, given=given)
        settings.check_pairs(taker)
        return settings

    def check_pairs(self, taker: Taker) -> None:
        """Checks options that need each other.

        Raises:
            ConfigurationError: one is given without the other.
        """
        if (self.pub_endpoint is None) != (self.req_endpoint is None):
            raise ConfigurationError(
                "pub_endpoint and req_endpoint go together: give both to use another Rbkit server, none for the "
                "embedded one"
            )
        if self.pub_port is not None or self.req_port is not None:
            self.binding()
        if not self.embedded and (self.curve_secret_key_file is None) != (self.curve_server_key_file is None):
            raise ConfigurationError(
                "curve_secret_key_file and curve_server_key_file go together: this side's own key, and the public key "
                "of the Rbkit server"
            )

    def binding(self) -> Binding:
        """The binding of the embedded server's TCP ports.

        Raises:
            ConfigurationError: see :class:`Binding`.
        """
        return Binding(self.bind_host, self.curve_secret_key_file, self.curve_authorized_keys_dir, self.insecure_bind)

    def without_effect(self, in_force: Settings) -> list[str]:
        """Options of the embedded server that were given here, as ``name=value``, while other values are in force."""
        return [
            f"{name}={getattr(self, name)!r} (in force: {getattr(in_force, name)!r})"
            for name in OPTIONS
            if name in self.given
            and (Taker.SERVER in OPTIONS[name].takers or name in ("pub_port", "req_port"))
            and getattr(self, name) != getattr(in_force, name)
        ]

    @property
    def title(self) -> str:
        """The title for people: the chosen name, else the started program."""
        return self.name if self.named else started.title(self.module)

    @property
    def embedded(self) -> bool:
        """True when the Rbkit server is the one inside this process."""
        return self.pub_endpoint is None


OPTIONS: Final[dict[str, Option]] = {
    one.name: Option(
        one.name,
        one.default,
        one.metadata["check"],
        one.metadata["takers"],
        f"RBKIT_{one.name.upper()}" if one.metadata["variable"] else None,
        one.metadata["sentence"],
    )
    for one in fields(Settings)
    if one.metadata
}
"""By name, in the order of the table."""


def _unknown(options: Mapping[str, Any], taker: Taker) -> str:
    words = []
    for name in sorted(options):
        if name in OPTIONS:
            words.append(f"{name} is no option of the {_NAMES[taker]}")
        else:
            near = get_close_matches(name, [known for known, option in OPTIONS.items() if taker in option.takers], 1)
            words.append(f"there is no option {name}" + (f"; {near[0]} is meant?" if near else ""))
    return ", ".join(words)


_NAMES: Final = {
    Taker.MIDDLEWARE: "middleware",
    Taker.SERVER: "embedded server",
    Taker.GATEWAY: "gateway",
}
