"""CPU samples: for polling clients, and as events for subscribers."""

from __future__ import annotations

from ...protocol.answers.cpu import CpuIntervalAnswer, CpuStateAnswer, GoodbyeAnswer, WaitProfileAnswer
from ...protocol.constants import OK
from ..commands import Call, Handler
from ..profiling import Profiling

__all__ = ["commands"]


def commands(profiling: Profiling) -> dict[str, Handler]:
    """Handlers of the commands.

    Args:
        profiling: the server's profilers.
    """
    cpu = _Cpu(profiling)
    return {
        "use_cpu_time": cpu.use_cpu_time,
        "use_wall_time": cpu.use_wall_time,
        "start_cpu_profiling": cpu.start,
        "stop_cpu_profiling": cpu.stop,
        "start_cpu_polling": cpu.start_polling,
        "cpu_events": cpu.events,
        "cpu_profile": cpu.profile,
        "set_cpu_interval": cpu.set_interval,
        "wait_profile": cpu.wait_profile,
        "goodbye": cpu.goodbye,
    }


class _Cpu:
    def __init__(self, profiling: Profiling) -> None:
        self._profiling = profiling
        self._cpu = profiling.cpu

    def use_cpu_time(self, _call: Call) -> bytes:
        self._cpu.next_clock = "cpu"
        return OK

    def use_wall_time(self, _call: Call) -> bytes:
        self._cpu.next_clock = "wall"
        return OK

    def start(self, _call: Call) -> bytes:
        self._profiling.start_cpu()
        return OK

    def stop(self, _call: Call) -> bytes:
        self._profiling.stop_cpu()
        return OK

    def start_polling(self, _call: Call) -> CpuStateAnswer:
        self._profiling.start_cpu_polling()
        return self._state()

    def events(self, call: Call) -> CpuStateAnswer:
        self._profiling.publish_cpu(call.first == "on")
        self._profiling.sign_of_life()
        return self._state()

    def _state(self) -> CpuStateAnswer:
        cpu = self._cpu
        return {"running": cpu.running, "clock": cpu.clock, "events": self._profiling.cpu_events, **cpu.interval()}

    def profile(self, call: Call) -> bytes:
        self._profiling.sign_of_life()
        return self._cpu.profile(call.first)

    def set_interval(self, call: Call) -> CpuIntervalAnswer:
        self._profiling.sign_of_life()
        return self._profiling.wish_interval(call.client, call.first)

    def wait_profile(self, call: Call) -> WaitProfileAnswer:
        self._profiling.sign_of_life()
        return self._profiling.wish_waits(call.client, call.first == "on")

    def goodbye(self, call: Call) -> GoodbyeAnswer:
        self._profiling.goodbye(call.client)
        return {}
