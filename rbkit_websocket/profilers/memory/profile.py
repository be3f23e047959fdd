"""Living objects, births and deaths, and collections, for ``memory_profile``.

The census runs while a client asks, and ``linger`` seconds longer. The first answer has one; a later one is as old as
``census`` says. Each client has its own cursor; they are known for five minutes.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ...protocol.commands.memory import ClassFigures, MemoryProfileAnswer, ObjectSite
from ...system.clock import time
from ..process.gcstats import GcWatch
from .census import Census
from .traced_objects import ObjectTracer

__all__ = ["MemoryProfile"]

RETENTION_USEC: Final = 300_000_000
MAX_CLASSES: Final = 2000
COLLECTIONS_TOLD: Final = 200
_BUCKET_USEC: Final = 1_000_000
# Clients that ask all the time shall not make it grow.
_MAX_BUCKETS: Final = 3000


class MemoryProfile:
    """Answers ``memory_profile``. All methods are called by the server's thread."""

    def __init__(self, object_tracer: ObjectTracer, census: Census, collections: GcWatch) -> None:
        self._object_tracer = object_tracer
        self._census = census
        self._collections = collections
        # Cursor and, of the time before it, {class: [born, died]}. A cursor is its time in microseconds.
        self._buckets: deque[tuple[int, dict[str, list[int]]]] = deque(maxlen=_MAX_BUCKETS)
        self._last = 0

    def tick(self) -> None:
        """Notes the counts, once a second."""
        if time.time() * 1e6 >= self._last + _BUCKET_USEC:
            self._close()

    def _close(self) -> int:
        native = self._object_tracer.counting
        self._last = max(self._last + 1, int(time.time() * 1e6))
        self._buckets.append((self._last, native.take_counts() if native is not None else {}))
        while self._buckets[0][0] < self._last - RETENTION_USEC:
            self._buckets.popleft()
        return self._last

    def answer(self, cursor: int | None, gc_stats: dict[str, float]) -> MemoryProfileAnswer:
        """The answer of ``memory_profile``."""
        end = self._close()
        known = cursor is not None and any(at == cursor for at, _ in self._buckets)
        begin = cursor if known and cursor is not None else end
        names: dict[str, int] = {}
        census = self._census
        classes = self._classes(begin if known else None, names)
        sites: list[ObjectSite] = [
            (names.setdefault(name, len(names)), file, line, count)
            for name, file, line, count in (
                self._object_tracer.counting.sites() if self._object_tracer.counting else ()
            )
        ]
        return {
            "cursor": end,
            "timestamp": time.time() * 1000,
            "span_us": end - begin,
            "running": self._object_tracer.running,
            "names": list(names),
            "classes": classes,
            "total_live": census.last.total,
            "census": {
                "at_ms": census.last.at_ms,
                "took_us": census.last.took_usec,
                "interval_us": int(census.interval * 1e6),
                "method": census.method,
                "note": census.note,
            },
            "collections": [row for row in self._collections.history if not known or row[0] * 1000 > begin][
                -COLLECTIONS_TOLD:
            ],
            "sites": sites,
            "gc": gc_stats,
        }

    def _classes(self, begin: int | None, names: dict[str, int]) -> list[ClassFigures]:
        born: dict[str, int] = {}
        died: dict[str, int] = {}
        native = self._object_tracer.counting
        exact: set[str] = set()
        if native is not None and begin is not None and begin >= native.since * 1e6:
            exact = native.known
            for at, deltas in self._buckets:
                if at > begin:
                    for name, (more, gone) in deltas.items():
                        born[name] = born.get(name, 0) + more
                        died[name] = died.get(name, 0) + gone
        live = self._census.last.live
        chosen = sorted(live, key=lambda name: -live[name][0])[:MAX_CLASSES]
        # Births and deaths are told even if no object is alive, or the collector does not track the class.
        chosen += [name for name in born if name not in live][: MAX_CLASSES // 2]
        rows: list[ClassFigures] = []
        for name in chosen:
            count, old = live.get(name, (0, 0))
            known = name in exact
            rows.append(
                (
                    names.setdefault(name, len(names)),
                    count,
                    born.get(name, 0) if known else None,
                    died.get(name, 0) if known else None,
                    old,
                )
            )
        return rows
