"""CPU time, wall time and waits: the choice of whoever looks, on a page that calls each by its name."""

from __future__ import annotations

import itertools
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.support.select import Select
from support.panelpage import PanelPage, panels
from support.servers import SERVERS, TOKEN, WebServer
from support.standin import StandIn, pack

from rbkit_websocket import connect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.usefixtures("bundle")]


@contextmanager
def requests(web: WebServer, path: str, at_once: int) -> Iterator[None]:
    """So many requests at any time, towards our own server; they end with the block."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            urllib.request.urlopen(web.url(path, scheme="http"), timeout=30).close()

    threads = [threading.Thread(target=ask) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def look_at(page: PanelPage, clock: str) -> None:
    Select(page.find(".title select")).select_by_visible_text(clock)


def tick(page: PanelPage, words: str) -> None:
    page.click(words, "main label")


def functions(page: PanelPage) -> dict[str, float]:
    """Functions of the table with the share of the time that was spent in each alone."""
    rows = page.chromium.execute_script(
        "return [...document.querySelectorAll('.functions tbody tr')].map(row =>"
        " [row.querySelector('.name').innerText.trim(), row.querySelector('.figure').innerText])"
    )
    return {name: float(share.strip("<%")) for name, share in rows}


def test_clock_and_waits_are_chosen_on_the_page_alone(chromium: Chrome) -> None:
    with (
        SERVERS["gunicorn-gevent"]("flask") as web,
        requests(web, "/nap?seconds=0.4", 8),
        requests(web, "/busy?seconds=0.05", 1),
        panels(chromium, web) as page,
        connect(web.url(token=TOKEN)) as other,
    ):
        page.enter("cpu")
        page.press("Start sampling")
        page.press("Table")
        page.wait(lambda: "burn_cpu" in functions(page), "the function that computes")
        page.wait_for("of one core")
        # Not its wait; what it does before and after takes a little, and on a busy machine now and then a turn.
        assert functions(page).get("nap", 0) < 10

        look_at(page, "wall time")
        page.wait_for("Wall time of threads, idle ones left out:")
        assert functions(page).get("nap", 0) < 10
        tick(page, "waiting requests too")
        page.wait_for("and of waiting requests:")

        def at_once() -> float:
            found = re.search(r"([\d.]+) at once on average", page.text())
            return float(found[1]) if found else 0.0

        page.wait(lambda: at_once() > 2, "those that wait, each with its own time")
        page.screenshot("cpu-waits")
        # Nobody else was switched.
        state: dict[str, Any] = other.command("cpu_profile")
        assert state["clock"] == "cpu"
        assert state["running"] is True

        # The overview has CPU alone, whatever is looked at in the panel.
        page.go("")
        page.wait_for("own CPU time, of")
        busy = page.wait(lambda: re.search(r"([\d.]+)%\s+of one core", page.text()), "the share of a core")
        assert float(busy[1]) <= 110
        by_request = page.text('section[aria-label^="CPU by request"]')
        assert "GET /busy" in by_request
        page.screenshot("overview-clocks")

        # A wish of one panel is the other's too.
        page.go("greenlets")
        page.wait_for("Waits are sampled")
        page.go("cpu")
        look_at(page, "CPU time")
        page.wait(
            lambda: "nap" not in functions(page) and functions(page).get("burn_cpu", 0) > 30, "CPU time as before"
        )
        page.go("greenlets")
        page.wait_for("Waits are sampled")


def older(rbkit: StandIn, clock: str) -> None:
    """A server that aggregates by one clock, as those before this release."""
    cursors = itertools.count(1)

    def handshake() -> bytes:
        answer: dict[int, Any] = msgpack.unpackb(rbkit.handshake(), strict_map_key=False)
        answer[2] |= {"extensions": "cpu_profile,start_cpu_polling", "clock_type": clock, "cpu_profiling_enabled": 1}
        return pack(answer)

    def profile() -> bytes:
        now = time.time() * 1000
        return pack(
            {
                "cursor": next(cursors),
                "running": True,
                "clock": clock,
                "interval_us": 1000,
                "effective_interval_us": 1000,
                "since": now - 1000,
                "until": now,
                "samples": 10,
                "lost_us": 0,
                "frames": [["work", "work", "/srv/app.py", 1, 2]],
                "stacks": [{"weight_us": 500_000, "count": 10, "thread": 1, "request": "GET /", "frames": [0]}],
                "threads": {1: "MainThread"},
            }
        )

    rbkit.answers[b"handshake"] = handshake
    rbkit.answers[b"cpu_profile"] = profile


@pytest.mark.parametrize("clock", ["cpu", "wall"])
def test_of_an_older_server_only_what_it_samples_is_told(chromium: Chrome, clock: str) -> None:
    with StandIn() as rbkit:
        older(rbkit, clock)
        env = {"RBKIT_PUB_ENDPOINT": rbkit.pub_endpoint, "RBKIT_REQ_ENDPOINT": rbkit.req_endpoint}
        with SERVERS["gunicorn-gevent"]("plain", env=env) as web, panels(chromium, web) as page:
            page.enter("cpu")
            page.press("Table")
            page.wait(lambda: functions(page) == {"work": 100.0}, "what it samples")
            page.wait_for("of one core" if clock == "cpu" else "at once on average")
            assert "waiting requests too" not in page.text()
            page.go("")
            if clock == "cpu":
                page.wait_for("own CPU time, of")
            else:
                page.wait_for("This server samples wall time.")
                assert "of one core" not in page.text()
            # The other clock has to be asked for.
            page.go("cpu")
            look_at(page, "wall time" if clock == "cpu" else "CPU time")
            rbkit.wait_for_command(b"use_wall_time" if clock == "cpu" else b"use_cpu_time")


def test_the_cost_of_watching_the_collector_and_what_was_left_out_are_named(chromium: Chrome) -> None:
    with StandIn() as rbkit:
        older(rbkit, "cpu")
        answered = itertools.count(1)

        def profile() -> bytes:
            number = next(answered)
            now = time.time() * 1000
            costs = {"server_us": 20_000 * number, "sampler_us": 6000 * number, "application_us": 4000 * number}
            names = [
                "main",
                "(\N{HORIZONTAL ELLIPSIS} 744 frames \N{HORIZONTAL ELLIPSIS})",
                "deep",
                "(garbage collection)",
            ]
            weight = {"wall_us": 600_000, "cpu_us": 500_000, "weight_us": 500_000, "waiting": False, "count": 10}
            return pack(
                {
                    "cursor": number,
                    "running": True,
                    "clock": "cpu",
                    "interval_us": 1000,
                    "samples": 10,
                    "effective_interval_us": 1000,
                    "since": now - 1000,
                    "until": now,
                    "lost_us": 0,
                    "wall_us": 600_000,
                    "cpu_us": 500_000,
                    "waiting_us": 0,
                    "weight_us": 500_000,
                    "watching": {"since": 5000.0, "until": 5000.0 + 1000 * number, **costs},
                    "frames": [
                        [name, name, "" if name[0] == "(" else "/srv/app.py", 0 if name[0] == "(" else 1, 1]
                        for name in names
                    ],
                    "stacks": [{**weight, "thread": 1, "request": None, "frames": [3, 2, 1, 0]}],
                    "threads": {1: "MainThread"},
                }
            )

        rbkit.answers[b"cpu_profile"] = profile
        env = {"RBKIT_PUB_ENDPOINT": rbkit.pub_endpoint, "RBKIT_REQ_ENDPOINT": rbkit.req_endpoint}
        with SERVERS["gunicorn-gevent"]("plain", env=env) as web, panels(chromium, web) as page:
            page.enter("cpu")
            page.wait_for("watching takes 3.0% of one core")
            page.wait_for("garbage collector")
            graph = page.find(".flame-scroll")
            for words in ("main", "left out by the sampler", "deep", "began in the function above"):
                graph.send_keys(Keys.ARROW_DOWN)
                page.wait(lambda w=words: w in page.text(".flame-chosen"), words)
            page.screenshot("cpu-collector")
            page.press("Table")
            page.wait(lambda: page.all(".functions .key.collector"), "the collector, by its colour")
            assert page.all(".functions .key.omitted")
            assert functions(page)["(garbage collection)"] == 100.0
