"""Follows one server through a client: each second's state becomes a :class:`~.view.View`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from ..client import Client
from ..model import Profile, profile_from_answer
from ..protocol.constants import EventType
from ..protocol.messages import Event
from ..system.clock import time
from .hot_functions import hottest
from .view import HeapFigures, View

__all__ = ["Collector", "Monitor"]

WINDOW: Final = 10
"""Seconds that the table covers: one second alone jumps too much to read."""
ROWS: Final = 100


class Collector:
    """Garbage collection and memory out of events. Pure."""

    KINDS: Final = frozenset({EventType.GC_START, EventType.GC_END_MARK, EventType.GC_STATS})
    """Event types that it reads; CPU samples are polled as a profile instead."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._pauses = 0
        self._pause_ms = self._longest_ms = 0.0
        self._stats: Mapping[str, Any] = {}

    def take(self, event: Event) -> None:
        """Reads one event; events of other types are ignored."""
        if event.type == EventType.GC_START:
            self._started = event.timestamp
        # The sweep after the mark goes on beside the program, perhaps for seconds.
        elif event.type == EventType.GC_END_MARK and self._started is not None:
            pause = max(event.timestamp - self._started, 0.0)
            self._started = None
            self._pauses += 1
            self._pause_ms += pause
            self._longest_ms = max(self._longest_ms, pause)
        elif event.type == EventType.GC_STATS and isinstance(event.payload, dict):
            self._stats = event.payload

    @property
    def heap(self) -> HeapFigures:
        """The figures so far."""
        return HeapFigures(
            collections=self._number("count"),
            pauses=self._pauses,
            pause_ms=self._pause_ms,
            longest_ms=self._longest_ms,
            rss=self._number("rss"),  # total_memsize is the sum of objects in Ruby
            blocks=self._number("allocated_blocks", "heap_live_slots"),
        )

    def _number(self, *keys: str) -> int | None:
        """The first of ``keys`` that the last statistics have as a number."""
        for key in keys:
            value = self._stats.get(key)
            if isinstance(value, (int, float)) and abs(value) < 2**63:
                return int(value)
        return None


class Monitor:
    """Switches the profilers on, then polls; the caller calls :meth:`second` each second.

    Args:
        client: an open connection.
        title: the application's name for people.
        url: its address, for people.
    """

    def __init__(self, client: Client, title: str, url: str) -> None:
        self._client = client
        self._title = title
        self._url = url
        self._collector = Collector()
        self._profiles: deque[Profile] = deque(maxlen=WINDOW)
        self._cursor: int | None = None
        self._began = time.monotonic()

    def start(self) -> None:
        """Switches CPU sampling, gc events and statistics on."""
        self._client.command("start_memory_profile")
        if self._client.command("start_cpu_polling") == b"ok":  # servers that do not know the command say ok too
            self._client.command("use_wall_time")
            self._client.command("start_cpu_profiling")
        # Earlier samples belong to other clients.
        self._cursor = profile_from_answer(self._client.command("cpu_profile")).cursor
        self._began = time.monotonic()

    def listen(self, seconds: float) -> None:
        """Takes events for so long.

        Raises:
            ClientError: the connection has ended.
        """
        for event in self._client.events(max(seconds, 0.0), Collector.KINDS):
            self._collector.take(event)
        if self._client.closed is not None:
            raise self._client.closed

    def poll(self, requests: float | None) -> View:
        """Asks for the samples since the last time and gives the state; ``requests`` a second is for display only."""
        command = "cpu_profile" if self._cursor is None else f"cpu_profile {self._cursor}"
        profile = profile_from_answer(self._client.command(command)).by("wall")
        self._cursor = profile.cursor
        self._profiles.append(profile)
        return View(
            title=self._title,
            url=self._url,
            seconds=round(time.monotonic() - self._began),
            requests=requests,
            clock=profile.clock,
            interval_us=profile.interval_us,
            table=hottest(self._profiles, ROWS),
            window=len(self._profiles),
            heap=self._collector.heap,
            connection="open" if self._client.closed is None else str(self._client.closed),
            lost=self._client.lost,
        )
