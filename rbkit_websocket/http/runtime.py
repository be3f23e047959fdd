"""What one application's middleware needs once it serves: the gate with its token, and the Rbkit servers it reaches."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from ..errors import ConfigurationError, NoSuchServer, RbkitError, RuntimeDirectoryError, ServerStartError
from ..fleet import records
from ..fleet.tokenfile import generated_token, has_token
from ..options.table import Settings
from ..system.clock import time
from ..system.stderr import say
from ..transport.curve import ClientKeys
from .gate import Gate

__all__ = ["Endpoints", "Runtime", "application_url"]

log = logging.getLogger(__name__)

# Seconds for all servers of a listing together.
_PATIENCE: Final = 0.5
# Seconds between two looks at the token's file.
_LOOK_EVERY: Final = 1.0
# Beyond that, until a file is taken for one that nobody puts back; and between two looks meanwhile.
_SLACK: Final = 0.5
_POLL: Final = 0.02
_PLACEHOLDER: Final = "<address of this application>"


@dataclass(frozen=True)
class Endpoints:
    """Where one Rbkit server is reached: ZeroMQ endpoints, and the keys of one that speaks CURVE; or, for an embedded
    one, ``unix://`` and the path of its socket, twice."""

    pub: str
    req: str
    keys: ClientKeys | None = None


class Runtime:
    """Created with the middleware, started by the first request or ``ensure_started()``; one process, one start.

    Args:
        settings: the middleware's.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._pid: int | None = None
        self._gate: Gate | None = None
        self._token: str | None = None  # the generated one
        self._configured: Endpoints | None = None
        self._next_look = 0.0

    def start(self, environ: Mapping[str, Any] | None = None) -> None:
        """Starts what serves this application. Failures are logged: the application goes on without us.

        Args:
            environ: of the request that came first, to name the address in what is printed.
        """
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        try:
            self._start(environ)
        except ValueError:
            pass  # logging itself fails: it has a standard error that is closed, and nobody is there to be told

    def _start(self, environ: Mapping[str, Any] | None) -> None:
        try:
            self.gate(environ)
            self.own_endpoints()
        except RbkitError as error:
            log.error("rbkit: %s. The application runs on, but cannot be watched.", error)
        except OSError as error:  # no descriptor to import with, say
            log.error("rbkit: could not start (%s). The application runs on, but cannot be watched.", error.strerror)
        except Exception:  # a boundary: profiling must never take the application down
            log.exception("rbkit: could not start. The application runs on, but cannot be watched.")

    def directory(self) -> Path:
        """The runtime directory.

        Raises:
            RuntimeDirectoryError: it cannot be used.
        """
        return records.runtime_directory(self.settings.runtime_dir)

    def gate(self, environ: Mapping[str, Any] | None = None) -> Gate:
        """Who gets in. The first call of all workers makes the token and prints it, once.

        Raises:
            RuntimeDirectoryError: the generated token cannot be kept or read.
        """
        gate = self._gate
        if gate is None:
            settings = self.settings
            token = settings.token
            if token is False and settings.authorize is None:
                log.warning("rbkit: token=False, so whoever reaches this application can profile it and read its heap")
            elif token is None and settings.authorize is None:
                directory = self.directory()
                _wait_for_siblings(directory, settings.name)
                token, path, created = generated_token(directory, settings.name)
                self._token = token
                if created:
                    self._announce(token, path, dict(environ or {}))
                else:
                    log.info("rbkit: the token is in %s", path)
            gate = self._gate = self._gate_of(token or None)
        elif self._token is not None:
            self.keep_token()
        return self._gate or gate

    def _gate_of(self, token: str | None) -> Gate:
        settings = self.settings
        return Gate(settings.name, token, settings.authorize, settings.allowed_origins)

    @property
    def looks_after_itself(self) -> bool:
        """Whether something of ours runs in this process that looks at the token's file now and then."""
        settings = self.settings
        return settings.embedded or settings.token is not None or settings.authorize is not None

    def look(self) -> None:
        """Looks at the token's file, once a second at the most. For each request of an application where nothing of
        ours runs beside it."""
        if self._token is not None and (now := time.monotonic()) >= self._next_look:
            self._next_look = now + _LOOK_EVERY
            self.keep_token()

    def keep_token(self) -> None:
        """Puts the generated token's file back where it is gone, or takes the token of the one that is there: all
        workers hold the same again, whatever cleans the directory. Never raises, never logs: any thread calls it.
        """
        held = self._token
        if held is None:
            return
        try:
            token, _, _ = generated_token(self.directory(), self.settings.name, held)
        except (RuntimeDirectoryError, OSError):
            return  # what is held is as good as before
        if token != held:
            self._token = token
            self._gate = self._gate_of(token)

    def own_endpoints(self) -> Endpoints:
        """The server this worker stands for: the embedded one, started if need be, or the configured one.

        Raises:
            ServerStartError, RuntimeDirectoryError: the embedded server could not start, or keys cannot be read.
        """
        settings = self.settings
        if settings.pub_endpoint is not None and settings.req_endpoint is not None:
            if self._configured is None:
                self._configured = Endpoints(settings.pub_endpoint, settings.req_endpoint, self._keys())
            return self._configured
        # Late, since it brings ZeroMQ along: an application that is never watched does not pay for it at import.
        from ..server import ensure_embedded

        return _local(ensure_embedded(settings, self.keep_token).endpoint)

    def _keys(self) -> ClientKeys | None:
        server, own = self.settings.curve_server_key_file, self.settings.curve_secret_key_file
        if server is None or own is None:
            return None
        try:
            return ClientKeys.load(server, own)
        except ConfigurationError as error:
            raise ServerStartError(str(error)) from error

    def endpoints(self, server_id: str | None) -> Endpoints:
        """The server that a client asks for with ``server=``, this worker's own without it.

        Raises:
            NoSuchServer: none of this application's workers has that id.
            ServerStartError: the own one cannot start.
            RuntimeDirectoryError: the runtime directory cannot be used.
        """
        if not server_id:
            return self.own_endpoints()
        record = records.find(self.directory(), self.settings.name, server_id)
        if record is None:
            raise NoSuchServer(server_id, self.settings.mount)
        return _local(record.endpoint)

    def servers(self) -> list[dict[str, Any]]:
        """The living servers of this application, this worker's own among them, as ``GET servers`` answers.

        Each is asked how it is, all at once; one that does not answer in half a second has None there.

        Raises:
            ServerStartError, RuntimeDirectoryError: as above.
        """
        if not self.settings.embedded:
            return []
        self.own_endpoints()
        found = records.listing(self.directory(), self.settings.name)
        # Late, since it imports gevent: that is for those who are watched, not for everyone who imports us.
        from ..bridge.probe import ask_status

        statuses = ask_status([(record.endpoint, None) for record in found], _PATIENCE)
        return [
            {
                "id": record.id,
                "name": None,
                "pid": record.pid,
                "application": status.text("application") or self.settings.title,
                "started": record.started,
                "alive": status.answered,
                "rss": status.number("rss"),
                "requests": status.number("requests"),
                "sessions": status.number("sessions"),
                "problem": None if status.answered else status.problem or f"does not answer within {_PATIENCE:g} s",
            }
            for record, status in zip(found, statuses, strict=True)
        ]

    @contextmanager
    def using(self, endpoints: Endpoints, session: Any) -> Iterator[None]:
        """While a session is bridged to a server; for those who have to end it from outside."""
        yield

    def _announce(self, token: str, path: Path, environ: dict[str, Any]) -> None:
        # Late, as it imports gevent.
        from ..takeover.registry import obstacle

        # Behind #, the token reaches no proxy's and no server's log when the address is opened.
        address = f"{application_url(environ)}{self.settings.mount}/#token={quote(token, safe='')}"
        problem = obstacle(environ) if environ else None
        lines = [f"watch this application at {address}"]
        if problem is not None:
            # The address all the same: it is not printed again, and another server may get the same token.
            lines = [f"this application cannot be watched here: {problem}", f"under a server that can: {address}"]
        lines.append(f"the token stays the same; it is in {path}")
        # Printed, not logged: log files are kept and read by others.
        if not say("\n".join(f"rbkit: {line}" for line in lines)):
            log.info("rbkit: the token is in %s", path)


def _wait_for_siblings(directory: Path, application: str) -> None:
    """Where the token's file is gone while workers run that hold the token: until one of them has put it back.

    Raises:
        RuntimeDirectoryError: the directory cannot be read.
    """
    if has_token(directory, application):
        return
    if not any(record.pid != os.getpid() for record in records.listing(directory, application)):
        return
    # They look once a second. An event, which gevent may have patched: other requests go on meanwhile.
    never = threading.Event()
    deadline = time.monotonic() + _LOOK_EVERY + _SLACK
    while not has_token(directory, application) and time.monotonic() < deadline:
        never.wait(_POLL)


def _local(endpoint: str) -> Endpoints:
    return Endpoints(endpoint, endpoint)


def application_url(environ: Mapping[str, Any]) -> str:
    """The application's address: below what it is mounted at, over TLS where this server speaks it."""
    # A proxy's word on the scheme is about its own connections, and the address below is not the proxy's.
    forwarded = any(key.startswith("HTTP_X_FORWARDED_") for key in environ)
    scheme = "https" if environ.get("wsgi.url_scheme") == "https" and not forwarded else "http"
    return f"{scheme}://{_address(environ)}{quote(environ.get('SCRIPT_NAME', ''), encoding='latin-1')}"


def _address(environ: Mapping[str, Any]) -> str:
    """Where this server listens, if it knows that by itself.

    Never from the Host header: whoever sends the first request would choose where the printed address leads to.
    """
    name, port = environ.get("SERVER_NAME", ""), str(environ.get("SERVER_PORT", ""))
    if not port.isdecimal():
        return _PLACEHOLDER
    try:
        # Behind a Unix socket gunicorn makes up SERVER_NAME from the Host header, and there is no client address.
        ipaddress.ip_address(environ.get("REMOTE_ADDR", ""))
        if name in ("localhost", socket.gethostname()):  # as some servers tell their own address
            return f"localhost:{port}"
        address = ipaddress.ip_address(name)
    except ValueError:
        return _PLACEHOLDER
    host = "127.0.0.1" if address.is_unspecified else f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{port}"
