"""Objects that come and go, and living objects by class."""

from __future__ import annotations

from ...protocol.commands.memory import MemoryProfileAnswer, TraceObjectsAnswer
from ...protocol.constants import OK
from ..dispatch import Call, Handler
from ..memory_profiling import MemoryProfiling

__all__ = ["commands"]


def commands(memory: MemoryProfiling) -> dict[str, Handler]:
    """Handlers of the commands.

    Args:
        memory: the server's memory profilers.
    """

    def start(_call: Call) -> bytes:
        memory.start()
        return OK

    def stop(_call: Call) -> bytes:
        memory.stop()
        return OK

    def trace(call: Call) -> TraceObjectsAnswer:
        return memory.trace(tuple(call.arguments))

    def profile(call: Call) -> MemoryProfileAnswer:
        return memory.answer(call.first)

    return {
        "start_memory_profile": start,
        "stop_memory_profile": stop,
        "trace_objects": trace,
        "memory_profile": profile,
    }
