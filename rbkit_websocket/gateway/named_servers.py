"""The servers behind a gateway: chosen by name, listed with their status, changed while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from ..bridge.probe import Status, ask_status
from ..errors import NoSuchServer
from ..http.servers import Endpoints
from ..websocket.session import Session
from .serverlist import NamedServer

__all__ = ["NamedServers"]

# Seconds for all servers together: they may be a continent away.
_PATIENCE: Final = 1.0


class NamedServers:
    """The servers of a gateway's configuration; see :class:`~..http.servers.Servers`.

    Args:
        servers: at least one; names are unique.
        mount: where the list of servers is.

    Attributes:
        named: the servers now.
    """

    def __init__(self, servers: Sequence[NamedServer], mount: str) -> None:
        self.named = tuple(servers)
        self._mount = mount
        self._sessions: dict[Session, Endpoints] = {}

    def replace(self, servers: Sequence[NamedServer]) -> None:
        """Replaces the servers. Sessions of servers that have left or changed are closed with 1001."""
        before = self.named
        self.named = tuple(servers)
        names = {_endpoints(server): server.name for server in before}
        # Several names may stand for one server: it stays as long as one of them does.
        stay = {_endpoints(server) for server in self.named if server in before}
        for session, endpoints in tuple(self._sessions.items()):
            name = names.get(endpoints)
            if name is not None and endpoints not in stay:
                left = name not in {server.name for server in self.named}
                verb = "has left" if left else "has changed in"
                session.close(1001, f"server {name!r} {verb} the gateway's list{'' if left else '; connect again'}")

    def own(self) -> Endpoints:
        """The server for a client that names none: the first that answers, else the first that is there."""
        if len(self.named) > 1:
            asked = list(zip(self.named, self._ask(), strict=True))
            for found in ("answered", "reachable"):
                for server, status in asked:
                    if getattr(status, found) and server in self.named:  # the list may have changed by now
                        return _endpoints(server)
        return _endpoints(self.named[0])

    def find(self, server_id: str) -> Endpoints:
        """The server of that name.

        Raises:
            NoSuchServer: there is none.
        """
        for server in self.named:
            if server.name == server_id:
                return _endpoints(server)
        raise NoSuchServer(server_id, self._mount)

    def listing(self) -> list[dict[str, Any]]:
        """All servers, in the order given. ``alive``: whether one answered within a second; ``problem``: why not."""
        return [
            {
                "id": server.name,
                "name": server.name,
                "pid": status.number("pid"),
                "application": status.text("application"),
                "started": status.number("started"),
                "alive": status.answered,
                "rss": status.number("rss"),
                "requests": status.number("requests"),
                "sessions": status.number("sessions"),
                "problem": _problem(status),
            }
            for server, status in zip(self.named, self._ask(), strict=True)
        ]

    def _ask(self) -> Any:
        return ask_status([(server.req, server.keys) for server in self.named], _PATIENCE)

    @contextmanager
    def using(self, endpoints: Endpoints, session: Session) -> Iterator[None]:
        """Notes a session's server, so that :meth:`replace` can end the session."""
        self._sessions[session] = endpoints
        try:
            yield
        finally:
            del self._sessions[session]


def _problem(status: Status) -> str | None:
    if status.answered:
        return None
    if status.reachable:
        return f"does not answer within {_PATIENCE:g} s: it is busy, with a snapshot say, or stuck"
    return status.refusal or "not reachable"


def _endpoints(server: NamedServer) -> Endpoints:
    return Endpoints(server.pub, server.req, server.keys)
