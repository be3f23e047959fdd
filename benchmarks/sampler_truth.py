"""Whether what the sampler says is true: rates, known shares, other threads, calls in C. Part of ``sampler.py``.

A process does known work and measures it by itself, a client in another process polls ``cpu_profile`` each second.
"""

from __future__ import annotations

import hashlib
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

Ask = Callable[[str], Any]

# -- in the process


def seventy(unit: int) -> None:
    for _ in repeat(None, 7 * unit):
        pass


def twenty(unit: int) -> None:
    for _ in repeat(None, 2 * unit):
        pass


def ten(unit: int) -> None:
    for _ in repeat(None, unit):
        pass


def hold(number: int) -> None:
    """In C, with the interpreter's lock."""
    sum(range(number))


def let_go(data: bytes) -> None:
    """In C, without it."""
    hashlib.sha256(data).digest()
    zlib.crc32(data)


def rest() -> None:
    time.sleep(0.05)


def timed(calls: Iterable[tuple[Callable[..., None], tuple[Any, ...]]], seconds: float) -> dict[str, float]:
    """Calls them in turns for so long; microseconds that each took."""
    calls = list(calls)
    took: Counter[str] = Counter()
    last = time.perf_counter_ns()
    until = last + round(seconds * 1e9)
    while last < until:
        for function, arguments in calls:
            function(*arguments)
            now = time.perf_counter_ns()
            took[function.__name__] += now - last
            last = now
    return {name: nanoseconds / 1000 for name, nanoseconds in took.items()}


def compute(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(100))


def other(seconds: float, main_too: bool) -> dict[str, float]:
    """A thread that computes; microseconds of CPU that it used."""
    used: list[float] = []

    def other_thread() -> None:
        compute(seconds)
        used.append(time.thread_time() * 1e6)

    thread = threading.Thread(target=other_thread)
    thread.start()
    if main_too:
        compute(seconds)
    thread.join()
    return {"other_thread": used[0]}


WORK: dict[str, Callable[[float], dict[str, float]]] = {
    "shares": lambda seconds: timed([(seventy, (7000,)), (twenty, (7000,)), (ten, (7000,))], seconds),
    "calls": lambda seconds: timed([(hold, (2_000_000,)), (let_go, (bytes(20_000_000),)), (rest, ())], seconds),
    "other": lambda seconds: other(seconds, False),
    "both": lambda seconds: other(seconds, True),
}

# -- the client


class Watch:
    """Adds up what ``cpu_profile`` says: microseconds and samples of each function, and samples of each thread."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._cursor = ""
        self.weights: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._answer()
        self.weights.clear()
        self.counts.clear()

    def _answer(self) -> None:
        answer = self._ask(f"cpu_profile{self._cursor}")
        self._cursor = f" {answer['cursor']}"
        for stack in answer["stacks"]:
            functions = {answer["frames"][index][0] for index in stack["frames"]}
            functions.add(f"thread {answer['threads'][stack['thread']]}")
            for name in functions:
                self.weights[name] += stack["weight_us"]
                self.counts[name] += stack["count"]

    poll = _answer


Run = Callable[[str, float, Callable[[], None]], dict[str, float]]
"""Has the process do work for some seconds and polls meanwhile; what :data:`WORK` answers."""


def verify(ask: Ask, run: Run) -> list[tuple[str, str, str, bool]]:
    """What was measured: (what, value, target, whether it is met)."""
    rows: list[tuple[str, str, str, bool]] = []

    def watched(work: str, seconds: float, interval: int, clock: str) -> tuple[dict[str, float], Watch]:
        for command in (f"set_cpu_interval {interval}", clock, "start_cpu_polling"):
            ask(command)
        watch = Watch(ask)
        truth = run(work, seconds, watch.poll)
        watch.poll()
        ask("stop_cpu_profiling")
        return truth, watch

    truth, watch = watched("shares", 10.0, 1000, "use_wall_time")
    total, seen = sum(truth.values()), sum(watch.weights[name] for name in truth)
    shares = {name: (100 * watch.weights[name] / seen, 100 * truth[name] / total) for name in truth}
    off = max(abs(found - true) for found, true in shares.values())
    rows.append(
        (
            "70/20/10 in 10 s, points off",
            f"{off:.2f}  ({', '.join(f'{found:.1f} for {true:.1f}' for found, true in shares.values())})",
            "<= 2",
            off <= 2,
        )
    )
    for interval, seconds in ((1000, 0.0), (100, 3.0)):
        if seconds:
            truth, watch = watched("shares", seconds, interval, "use_wall_time")
        rate = sum(watch.counts[name] for name in truth) / sum(truth.values()) * 1e6
        asked = 1e6 / interval
        rows.append((f"samples a second of {asked:.0f}, main thread", f"{rate:.0f}", ">= 95 %", rate >= 0.95 * asked))
    for work, label in (("other", "another thread"), ("both", "another thread, main computes too")):
        truth, watch = watched(work, 4.0, 1000, "use_cpu_time")
        used = truth["other_thread"]
        # Per second of its CPU time: where two threads share the lock each has half of the time.
        rate = watch.counts["other_thread"] / used * 1e6
        right = 100 * watch.weights["other_thread"] / used
        rows.append((f"samples a second, {label}", f"{rate:.0f}", ">= 150", rate >= 150))
        rows.append((f"its weight, {label}", f"{right:.1f} %", "95 to 105 %", 95 <= right <= 105))
    truth, watch = watched("calls", 6.0, 1000, "use_wall_time")
    for name, label in (("hold", "holds the lock"), ("let_go", "drops the lock"), ("rest", "sleeps")):
        right = 100 * watch.weights[name] / truth[name]
        rows.append((f"time of a C call that {label}", f"{right:.1f} %", "90 to 110 %", 90 <= right <= 110))
    return rows
