"""Rbkit servers that a session may be bridged to: those of this application's workers, or the configured one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from ..errors import ConfigurationError, NoSuchServer, ServerStartError
from ..fleet import records
from ..options.table import Settings
from ..system.loaded import import_gevent
from ..transport.curve import ClientKeys

__all__ = ["ConfiguredServer", "EmbeddedServers", "Endpoints", "Servers", "servers_of"]

# Seconds for all servers of a listing together.
_PATIENCE: Final = 0.5


@dataclass(frozen=True)
class Endpoints:
    """Endpoints of one Rbkit server: ZeroMQ's, with keys if it speaks CURVE; or, for an embedded server, ``unix://``
    and the path of its socket, twice."""

    pub: str
    req: str
    keys: ClientKeys | None = None


class Servers(Protocol):
    """The servers that sessions of one application reach.

    Each call may raise ServerStartError or RuntimeDirectoryError: the own server cannot start, its keys cannot be read,
    the runtime directory cannot be used.
    """

    def own(self) -> Endpoints:
        """The server for a client that names none."""
        ...

    def find(self, server_id: str) -> Endpoints:
        """The server that a client names with ``server=``.

        Raises:
            NoSuchServer: there is none.
        """
        ...

    def listing(self) -> list[dict[str, Any]]:
        """The answer of ``GET servers``: each server with its status; None for facts that it does not tell in time."""
        ...

    def using(self, endpoints: Endpoints, session: Any) -> AbstractContextManager[None]:
        """A context for the time of a session's bridge to a server."""
        ...


def servers_of(settings: Settings, keep: Callable[[], None]) -> Servers:
    """The servers that the settings name.

    Args:
        settings: of the application.
        keep: see :class:`EmbeddedServers`.
    """
    return EmbeddedServers(settings, keep) if settings.embedded else ConfiguredServer(settings)


class EmbeddedServers:
    """This worker's embedded server, and those of its siblings.

    Args:
        settings: of the application.
        keep: called every second in the own server's thread, to look after other files of the runtime directory.
    """

    def __init__(self, settings: Settings, keep: Callable[[], None]) -> None:
        self._settings = settings
        self._keep = keep

    def own(self) -> Endpoints:
        # Late, since it loads ZeroMQ: an application that is never watched does not pay for that at import.
        from ..server import ensure_embedded

        return _local(ensure_embedded(self._settings, self._keep).endpoint)

    def find(self, server_id: str) -> Endpoints:
        record = records.find_record(self._directory(), self._settings.name, server_id)
        if record is None:
            raise NoSuchServer(server_id, self._settings.mount)
        return _local(record.endpoint)

    def listing(self) -> list[dict[str, Any]]:
        self.own()
        found = records.listing(self._directory(), self._settings.name)
        # Late, since it imports gevent: an application that is never watched does not load it.
        import_gevent()
        from ..bridge.probe import ask_status

        statuses = ask_status([(record.endpoint, None) for record in found], _PATIENCE)
        return [
            {
                "id": record.id,
                "name": None,
                "pid": record.pid,
                "application": status.text("application") or self._settings.title,
                "started": record.started,
                "alive": status.answered,
                "rss": status.number("rss"),
                "requests": status.number("requests"),
                "sessions": status.number("sessions"),
                "problem": None if status.answered else status.refusal or f"does not answer within {_PATIENCE:g} s",
            }
            for record, status in zip(found, statuses, strict=True)
        ]

    def using(self, endpoints: Endpoints, session: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def _directory(self) -> Path:
        return records.runtime_directory(self._settings.runtime_dir)


class ConfiguredServer:
    """One server of any make, at the endpoints that the settings name. It is in no list, as its id is unknown."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._own: Endpoints | None = None

    def own(self) -> Endpoints:
        settings = self._settings
        if self._own is None:
            self._own = Endpoints(str(settings.pub_endpoint), str(settings.req_endpoint), self._keys())
        return self._own

    def find(self, server_id: str) -> Endpoints:
        raise NoSuchServer(server_id, self._settings.mount)

    def listing(self) -> list[dict[str, Any]]:
        return []

    def using(self, endpoints: Endpoints, session: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def _keys(self) -> ClientKeys | None:
        server, own = self._settings.curve_server_key_file, self._settings.curve_secret_key_file
        if server is None or own is None:
            return None
        try:
            return ClientKeys.load(server, own)
        except ConfigurationError as error:
            raise ServerStartError(str(error)) from error


def _local(endpoint: str) -> Endpoints:
    return Endpoints(endpoint, endpoint)
