"""CPU samples: for polling clients, and as events for subscribers."""

from __future__ import annotations

from typing import Literal

from ...protocol.commands.cpu import CpuIntervalAnswer, CpuStateAnswer, WaitProfileAnswer
from ...protocol.commands.process import GoodbyeAnswer
from ...protocol.constants import OK
from ..cpu_profiling import CpuProfiling
from ..dispatch import Call, Handler

__all__ = ["commands"]


def commands(cpu: CpuProfiling) -> dict[str, Handler]:
    """Handlers of the commands.

    Args:
        cpu: the server's CPU profiler, and its clients.
    """

    def use(clock: Literal["cpu", "wall"]) -> bytes:
        cpu.profiler.next_clock = clock
        return OK

    def start(_call: Call) -> bytes:
        cpu.start_publishing()
        return OK

    def stop(_call: Call) -> bytes:
        cpu.stop()
        return OK

    def start_polling(_call: Call) -> CpuStateAnswer:
        cpu.start_polling()
        return cpu.state()

    def events(call: Call) -> CpuStateAnswer:
        return cpu.switch_events(call.first == "on")

    def profile(call: Call) -> bytes:
        return cpu.profile(call.first)

    def set_interval(call: Call) -> CpuIntervalAnswer:
        return cpu.wish_interval(call.client, call.first)

    def wait_profile(call: Call) -> WaitProfileAnswer:
        return cpu.wish_waits(call.client, call.first == "on")

    def goodbye(call: Call) -> GoodbyeAnswer:
        cpu.goodbye(call.client)
        return {}

    return {
        "use_cpu_time": lambda _call: use("cpu"),
        "use_wall_time": lambda _call: use("wall"),
        "start_cpu_profiling": start,
        "stop_cpu_profiling": stop,
        "start_cpu_polling": start_polling,
        "cpu_events": events,
        "cpu_profile": profile,
        "set_cpu_interval": set_interval,
        "wait_profile": wait_profile,
        "goodbye": goodbye,
    }
