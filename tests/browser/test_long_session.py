"""An hour before the dashboard, in fast motion: its memory stays bounded and it still answers."""

from __future__ import annotations

import random
import time
from typing import Any

import msgpack
import pytest
from selenium.webdriver import Chrome
from support.dashboardpage import DashboardPage
from support.servers import TOKEN
from support.standin import StandIn, pack

from .test_dashboard import MOUNT, in_front_of

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.timeout(1200)]

# What the page does each second or so it does as fast as it gets its answers; what it waits for longer stays as it is.
FAST_MOTION = """
const later = window.setTimeout;
window.setTimeout = (what, delay, ...rest) => later(what, delay >= 500 && delay <= 3000 ? 1 : delay, ...rest);
"""
DEPTH, STACKS, DIFFERENT, REQUESTS = 100, 100, 2000, 300
WARM = 420
"""Seconds after which all that is kept by the second is full, and merging has begun."""


class Hour:
    """A server's answers to ``cpu_profile``, one for each second that ends now; a tenth of its stacks is new."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.second = 0
        self._begin = time.time() * 1000 - seconds * 1000
        self._random = random.Random(7)
        self._pool = [self._stack(number) for number in range(DIFFERENT)]

    def _stack(self, number: int) -> list[str]:
        return [
            f"base{depth}" if depth < 40 else f"f{number % 50}.{depth}.{number % (depth * 7)}"
            for depth in reversed(range(DEPTH))
        ]

    def answer(self) -> bytes:
        since = self._begin + self.second * 1000
        frames: dict[str, int] = {}
        stacks = []
        if self.second < self.seconds:
            for number in range(STACKS):
                if number % 10 == 0:
                    fresh = DIFFERENT + self.second * 10 + number
                    self._pool[self._random.randrange(DIFFERENT)] = self._stack(fresh)
                chosen = self._random.randrange(DIFFERENT)
                indices = [frames.setdefault(name, len(frames)) for name in self._pool[chosen]]
                request = f"GET /{chosen % REQUESTS}"
                stacks.append({"weight_us": 10_000, "count": 10, "thread": 1, "request": request, "frames": indices})
            self.second += 1
        return pack(
            {
                "cursor": self.second * 1_000_000,
                "running": True,
                "clock": "cpu",
                "interval_us": 1000,
                "effective_interval_us": 1000,
                "since": since,
                "until": since + 1000,
                "samples": 10 * len(stacks),
                "weight_us": 10_000 * len(stacks),
                "lost_us": 0,
                "frames": [[name, name, f"/srv/app/{name[:6]}.py", 1, 2] for name in frames],
                "stacks": stacks,
                "threads": {1: "MainThread"},
            }
        )


def handshake(stand_in: StandIn) -> bytes:
    message: dict[int, Any] = msgpack.unpackb(stand_in.handshake(), strict_map_key=False)
    message[2] |= {"language": "python", "extensions": "cpu_profile,start_cpu_polling", "cpu_profiling_enabled": 1}
    return pack(message)


def megabytes(chromium: Chrome) -> float:
    """What the page's objects take once all that can go has gone."""
    chromium.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    return float(chromium.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"]) / 1e6


@pytest.mark.parametrize("minutes", [12, pytest.param(60, marks=pytest.mark.timing)])
def test_a_long_session_stays_small_and_quick(chromium: Chrome, minutes: int) -> None:
    hour = Hour(minutes * 60)
    script = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FAST_MOTION})
    try:
        with StandIn() as rbkit, in_front_of(rbkit) as web:
            rbkit.answers[b"handshake"] = lambda: handshake(rbkit)
            rbkit.answers[b"cpu_profile"] = hour.answer
            page = DashboardPage(chromium, web.url(MOUNT, scheme="http"))
            page.resize("desktop")
            page.open(TOKEN)
            page.wait_for_state("Live")
            page.show("process", "Process")  # where nothing of it is drawn
            page.wait(lambda: hour.second > WARM, "the first minutes", timeout=900)
            warm = megabytes(chromium)
            page.wait(lambda: hour.second == hour.seconds, "the rest", timeout=900)
            end = megabytes(chromium)
            print(f"{minutes} minutes: {warm:.0f} MB after {WARM} s, {end:.0f} MB at the end")
            assert end < 120
            began = time.monotonic()
            page.show("cpu", "CPU")
            page.choose("Stretch of time", "Last hour")
            page.find(".flame-scroll")
            page.press("Table")
            page.wait(lambda: "/srv/app/f" in page.text(".functions"), "the functions")
            print(f"shown after {time.monotonic() - began:.1f} s, with {megabytes(chromium):.0f} MB")
            assert megabytes(chromium) < 200
            assert page.console() == []
    finally:
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        chromium.get("about:blank")
