"""The demo's own load, a few threads that request pages at a steady pace, and the count of requests."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from types import TracebackType
from typing import Final

from ..system.clock import time

__all__ = ["Load", "RequestCounter"]

PATHS: Final = ("/primes", "/distance", "/report", "/primes", "/leak", "/distance", "/report", "/primes", "/sleep", "/")
"""Pages requested one after the other, again and again: a third of one CPU or so."""
THREADS: Final = 4
REQUESTS_PER_SECOND: Final = 20.0
REQUEST_TIMEOUT: Final = 5.0
JOIN_TIMEOUT: Final = 0.5


class Load:
    """A context manager: while it is open, 20 requests a second, never more than one a thread at a time.

    Args:
        port: of the demo's application on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._paths = itertools.cycle(PATHS)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(index,), name=f"demo-load-{index}", daemon=True)
            for index in range(THREADS)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        deadline = time.monotonic() + JOIN_TIMEOUT
        for thread in self._threads:
            # A thread that waits for an answer is a daemon: it ends with the server or with us.
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _ask(self, index: int) -> None:
        interval = THREADS / REQUESTS_PER_SECOND
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=REQUEST_TIMEOUT)
        # Spread over the interval; a slow answer is caught up with at most one request, never with a burst.
        due = time.monotonic() + interval * index / THREADS
        while not self._stop.wait(max(due - time.monotonic(), 0.0)):
            due = max(due, time.monotonic() - interval) + interval
            with self._lock:
                path = next(self._paths)
            try:
                connection.request("GET", path)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()  # the next request connects again
        connection.close()


class RequestCounter:
    """Requests a second, from the counter that the application keeps."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
        self._last = (time.monotonic(), 0)

    def per_second(self) -> float | None:
        """The rate since the last call; None when the application did not answer."""
        try:
            self._connection.request("GET", "/stats")
            count = int(json.loads(self._connection.getresponse().read())["requests"])
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            self._connection.close()
            return None
        now = time.monotonic()
        (before, counted), self._last = self._last, (now, count)
        return (count - counted) / max(now - before, 1e-6)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()
