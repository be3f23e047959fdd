"""Connections of a gateway: all that are no sessions are bounded in time and number."""

from __future__ import annotations

import resource
import socket
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, Final

import gevent
from gevent import pywsgi

__all__ = ["Crowd", "GatewayServer"]

# Seconds for the head of a request, the first one's or the next one's of a connection that is kept.
_HEAD: Final = 10.0
# Seconds for its body and the answer; the dashboard is 200 kB at most.
_ANSWER: Final = 60.0
# Connections that are no sessions. Browsers open six to a server.
_MOST: Final = 256
_STAY: Final = "rbkit.gateway.stay"


class Crowd:
    """Connections that are no sessions; when there are too many it chooses one to end. Pure.

    Args:
        most: the greatest number of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._here: dict[Hashable, str] = {}  # the latest to send or read at the end

    def __len__(self) -> int:
        return len(self._here)

    def enter(self, who: Hashable, address: str) -> Hashable | None:
        """Notes a connection from ``address``, new or active again; returns the one that has to end for it, or None.

        That is the longest idle one of the address with the most connections: a crowd from one address makes room for
        its own, and through a proxy, where all addresses are one, idle connections make room for new ones.
        """
        self._here.pop(who, None)
        self._here[who] = address
        if len(self._here) <= self._most:
            return None
        crowded, _ = Counter(self._here.values()).most_common(1)[0]
        leaves = next(one for one, its in self._here.items() if its == crowded)
        del self._here[leaves]
        return leaves

    def leave(self, who: Hashable) -> None:
        """Forgets a connection that has ended, or has become a session."""
        self._here.pop(who, None)


class _Handler(pywsgi.WSGIHandler):
    """One connection, which ends when its time is up."""

    server: GatewayServer

    def handle(self) -> None:
        self._clock = gevent.get_hub().loop.timer(0)
        self._ended = False
        try:
            super().handle()
        except OSError:
            pass  # the client has gone in the middle of a refusal
        finally:
            self.stay()
            self._clock.close()

    def read_requestline(self) -> str:
        leaves = self.server.crowd.enter(self, str(self.client_address[0]) if self.client_address else "")
        if isinstance(leaves, _Handler):
            leaves.end()
        self._within(_HEAD)
        return super().read_requestline()

    def read_request(self, raw_requestline: str) -> Any:
        try:
            answer = super().read_request(raw_requestline)
        except OSError:
            return False  # pywsgi would print a traceback for each client that goes in the middle of its head
        self._within(_ANSWER)
        return answer

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        # A client that has gone, or was cut off, is not logged: a crowd of them would fill the log.
        if self._ended or (isinstance(v, OSError) and v.errno is None):
            self.close_connection = True
        else:
            super().handle_error(t, v, tb)

    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), _STAY: self.stay}

    def stay(self) -> None:
        """Lifts the bounds of time and number from this connection."""
        self._clock.stop()
        self.server.crowd.leave(self)

    def end(self) -> None:
        """Makes reads and writes fail, so that the connection's greenlet ends in the usual way."""
        self._ended = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            pass  # it has just ended by itself

    def _within(self, seconds: float) -> None:
        self._clock.stop()
        self._clock.close()
        self._clock = gevent.get_hub().loop.timer(seconds)
        self._clock.start(self.end)


class GatewayServer(pywsgi.WSGIServer):
    """pywsgi whose connections are bounded until :meth:`stay` is called for one.

    Args:
        address: host and port.
        application: WSGI.

    Attributes:
        crowd: the connections that are no sessions.
    """

    handler_class = _Handler
    # Accepted in one go: these make room for each other before more are accepted.
    max_accept = 8

    def __init__(self, address: tuple[str, int], application: Callable[..., Any]) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # A fourth of the descriptors: sessions and their links to the servers need the rest.
        most = _MOST if soft == resource.RLIM_INFINITY else max(8, min(_MOST, soft // 4))
        self.crowd = Crowd(most)
        # Malformed requests are not logged: any client could fill the log.
        super().__init__(address, application, log=None, error_log=None)

    @staticmethod
    def stay(environ: dict[str, Any]) -> None:
        """Notes that the request of ``environ`` becomes a session, which has bounds of its own."""
        environ[_STAY]()
