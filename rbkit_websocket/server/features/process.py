"""Facts about the process."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import Final

from ... import __version__
from ...fleet import sessions
from ...profilers.base import Host
from ...profilers.greenlets.registry import GreenletRegistry
from ...profilers.greenlets.stacks import innermost_frames
from ...profilers.heap.snapshot import usual_method
from ...profilers.process.procfs import SELF_STATUS, fields
from ...profilers.requests.tracker import REQUESTS
from ...protocol.codec import pack
from ...protocol.commands import EXTENSIONS
from ...protocol.commands.process import HandshakeAnswer, StatusAnswer
from ...protocol.constants import OK, PROTOCOL_VERSION, EventType, Field
from ...system.clock import time
from ...system.started import process_name, title
from ..cpu_profiling import CpuProfiling
from ..dispatch import Call, Handler
from ..memory_profiling import MemoryProfiling
from ..originals import AppThread
from ..scheduler import Job

__all__ = ["Identity", "commands", "handshake"]

# Seconds for the application's own thread to begin a collection before the server's thread does it.
_COLLECT_WITHIN: Final = 0.5
_LOOK_AGAIN: Final = 0.02


class Identity:
    """Identity of a server.

    Args:
        server_id: see :func:`rbkit_websocket.fleet.records.new_id`.
        application: the application's name for people.

    Attributes:
        id: the server's id.
        started: seconds since the epoch.
        working_directory: of the process when the server began.
    """

    def __init__(self, server_id: str, application: str) -> None:
        self.id = server_id
        self.started = time.time()
        self.working_directory = _working_directory()
        self._applications = (application,) if application else ()

    @property
    def application(self) -> str:
        """The applications of this process, for people: ``shop``, ``shop, blog`` where there are more than one."""
        return ", ".join(self._applications) or title()

    def serve_for(self, application: str) -> None:
        """One more application of this process is watched through this server."""
        if application not in self._applications:
            self._applications = (*self._applications, application)


def handshake(
    identity: Identity, cpu: CpuProfiling, memory: MemoryProfiling, linger: float, fork: bool
) -> HandshakeAnswer:
    """The payload of ``handshake``."""
    profiler = cpu.profiler
    hertz = 1_000_000 / profiler.interval()["effective_interval_us"]
    native = profiler.native
    return {
        "rbkit_server_version": __version__,
        "rbkit_protocol_version": PROTOCOL_VERSION,
        "process_name": process_name(),
        "pwd": identity.working_directory,
        "pid": os.getpid(),
        "object_trace_enabled": 1 if memory.published else 0,
        "cpu_profiling_enabled": 1 if profiler.running else 0,
        "clock_type": profiler.clock,
        "cpu_profiling_mode": "sampling",
        "extensions": ",".join(EXTENSIONS),
        "language": "python",
        "python_version": sys.version.split(" ", 1)[0],
        "native": native,
        "cpu_sampling": f"{hertz:g} Hz, weighed by the clock, repeated to the interval",
        "cpu_events": "on" if cpu.events else "off",
        "cpu_interval_us": str(profiler.sampler.interval_usec),
        "server_id": identity.id,
        "application": identity.application,
        "heap_snapshot": usual_method(fork),
        "object_trace": memory.object_tracer.description,
        "linger": f"{linger:g}",
    }


def commands(
    host: Host,
    app: AppThread,
    identity: Identity,
    greenlets: GreenletRegistry,
    tell: Callable[[], HandshakeAnswer],
    wake: Callable[[], None],
) -> dict[str, Handler]:
    """Handlers of the commands.

    Args:
        host: the process.
        app: the application's own thread.
        identity: of this server.
        greenlets: those of the process.
        tell: gives the payload of ``handshake``.
        wake: lets the server's loop go round; from any thread.
    """

    def shake(_call: Call) -> bytes:
        return pack(
            {
                int(Field.EVENT_TYPE): int(EventType.HANDSHAKE),
                int(Field.TIMESTAMP): time.time() * 1000,
                int(Field.PAYLOAD): tell(),
            }
        )

    def status(_call: Call) -> StatusAnswer:
        return {
            "pid": os.getpid(),
            "application": identity.application,
            "server_id": identity.id,
            "started": identity.started,
            "rss": fields(SELF_STATUS).get("VmRSS"),
            "requests": requests(),
            "sessions": sessions.count(),
        }

    def requests() -> int | None:
        if REQUESTS.marker is None:
            return None
        with innermost_frames(host, greenlets) as frames:
            return REQUESTS.count(frames)

    return {"handshake": shake, "status": status, "trigger_gc": lambda _call: _collect_garbage(host, app, wake)}


def _collect_garbage(host: Host, app: AppThread, wake: Callable[[], None]) -> Job:
    """Runs a full collection, in the application's own thread if it can: finalizers run in the collecting thread."""
    # The thread that takes the lock collects; it is an original lock, and no thread waits for it.
    begun = host.allocate_lock()
    ended = []

    def collect() -> None:
        if begun.acquire(False):
            try:
                gc.collect()
            finally:
                ended.append(True)
                wake()

    if app.call(collect):
        deadline = time.monotonic() + _COLLECT_WITHIN
        while not ended and time.monotonic() < deadline:
            yield _LOOK_AGAIN
        # Once it has begun over there it is not begun again here.
        while not ended and begun.locked():
            yield _LOOK_AGAIN
    collect()
    return OK


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return ""
