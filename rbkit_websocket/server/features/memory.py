"""Objects that come and go, and living objects by class."""

from __future__ import annotations

from ...protocol.answers.memory import MemoryProfileAnswer, TraceObjectsAnswer
from ...protocol.constants import OK
from ..commands import Call, Handler
from ..profiling import Profiling

__all__ = ["commands"]


def commands(profiling: Profiling) -> dict[str, Handler]:
    """Handlers of the commands.

    Args:
        profiling: the server's profilers.
    """

    def start(_call: Call) -> bytes:
        profiling.start_memory()
        return OK

    def stop(_call: Call) -> bytes:
        profiling.stop_memory()
        return OK

    def trace(call: Call) -> TraceObjectsAnswer:
        return profiling.trace_objects(tuple(call.arguments))

    def profile(call: Call) -> MemoryProfileAnswer:
        return profiling.memory_profile(call.first)

    return {
        "start_memory_profile": start,
        "stop_memory_profile": stop,
        "trace_objects": trace,
        "memory_profile": profile,
    }
