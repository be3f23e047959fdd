"""Tracing of objects' births and deaths: ``trace_objects <pattern> ...``.

A pattern is compared with a class's qualified name (``app.models.User``; builtins bare) and with its module; ``*``
stands for any text. So ``app.*`` is everything below ``app``, and ``app.models`` the classes of that module. Without a
pattern ``trace_objects`` ends that, and tracing for ``start_memory_profile`` goes on: all classes written in Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from ...native.loader import NativeUnavailable
from ...protocol.commands.memory import TraceObjectsAnswer
from ..base import Host, Profiler
from .exact_tracer import NativeTracer
from .fallback_tracer import ObjectWatch

__all__ = ["ObjectTracer"]

EVERYTHING: Final = ("*",)
# New objects followed in a second: by default, for clients that draw each event, and for named classes.
FOLLOWED_PER_SECOND: Final = 500
FOLLOWED_IF_ASKED: Final = 5000


class ObjectTracer(Profiler):
    """The native tracer, or the weak references that stand in for it. All methods are called by the server's thread."""

    def __init__(self, host: Host) -> None:
        self._watch = ObjectWatch(host)
        self.native: NativeTracer | None = None
        self._without = ""
        try:
            self.native = NativeTracer(host)
        except NativeUnavailable as reason:
            self._without = str(reason)
        self._by_default = False
        self.patterns: tuple[str, ...] = ()

    @property
    def running(self) -> bool:  # type: ignore[override]
        return self._by_default or bool(self.patterns)

    @property
    def counting(self) -> NativeTracer | None:
        """The native tracer while it runs."""
        return self.native if self.native is not None and self.native.running else None

    def start(self) -> None:
        if not self._by_default:
            self._by_default = True
            if not self.patterns:
                self._switch()

    def stop(self) -> None:
        self._by_default, self.patterns = False, ()
        self._switch()

    def trace(self, patterns: tuple[str, ...]) -> TraceObjectsAnswer:
        """The answer of ``trace_objects``."""
        if patterns != self.patterns:
            self.patterns = patterns
            self._switch()
        return {
            "patterns": list(self.patterns),
            "mechanism": self.mechanism,
            "complete": self.counting is not None and self.counting.complete,
            "note": self.note,
        }

    def forget(self) -> None:
        """Forgets all tracing in a forked child."""
        self._by_default, self.patterns = False, ()
        if self.native is not None:
            self.native.forget()
        self._watch.stop()

    def _switch(self) -> None:
        """Starts the tracer that is wanted now; waiting events of the former are dropped."""
        self._watch.stop()
        if self.native is not None:
            self.native.stop()
        if not self.running:
            return
        if self.native is not None:
            try:
                asked = bool(self.patterns)
                self.native.start(
                    self.patterns or EVERYTHING,
                    FOLLOWED_IF_ASKED if asked else FOLLOWED_PER_SECOND,
                    everything=asked,
                )
                return
            except NativeUnavailable as reason:
                self._without = str(reason)
        self._watch.patterns = self.patterns
        self._watch.start()

    def drain(self, audience: bool) -> Iterable[bytes]:
        return (self.counting or self._watch).drain(audience)

    @property
    def mechanism(self) -> Literal["hooks", "references", "weak references", "off"]:
        """The mechanism in use: ``hooks``, ``references``, ``weak references`` or ``off``."""
        if not self.running:
            return "off"
        return self.counting.mechanism if self.counting is not None else "weak references"

    @property
    def note(self) -> str:
        """A note for people on objects that are not seen."""
        native = self.counting
        if native is None:
            seen = "objects that take weak references, at collections, within a budget"
            return f"{seen} ({self._without})" if self.running else ""
        part = f"one object in {native.stride} is published, all are counted" if native.stride > 1 else ""
        return "; ".join(filter(None, (native.note, part)))

    @property
    def description(self) -> str:
        """The handshake's sentence: how objects are traced, or would be."""
        if self.counting is not None:
            return f"{self.mechanism}: {', '.join(self.patterns or EVERYTHING)}; {self.note or 'all are published'}"
        if self.running or self.native is None:
            return f"weak references: objects that take them, at collections, within a budget ({self._without})"
        return "classes written in Python, each object counted, a part published"

    def stats(self) -> dict[str, int]:
        """Keys of ``gc_stats``."""
        source = self.counting or self._watch
        stats = {"objects_followed": source.followed, "objects_skipped": source.skipped}
        if self.counting is not None:
            stats["objects_one_in"] = self.counting.stride
        return stats
