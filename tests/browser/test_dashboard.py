"""The dashboard in a real browser: against gunicorn with two workers, and against a server that is not ours."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from support.dashboardpage import SIZES, DashboardPage
from support.servers import SERVERS, TOKEN, UNSUPPORTED, WebServer
from support.standin import RECORDINGS, StandIn, pack
from support.waiting import wait_until

from rbkit_websocket import connect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

MOUNT = "/__rbkit__/"
HOSTILE = "<img src=x onerror=alert(1)>\u202e"


@contextmanager
def dashboard(chromium: Chrome, web: WebServer, token: str | None = TOKEN) -> Iterator[DashboardPage]:
    page = DashboardPage(chromium, web.url(MOUNT, scheme="http"))
    page.resize("desktop")
    page.open(token)
    yield page
    assert page.foreign() == []
    chromium.get("about:blank")


@contextmanager
def load(web: WebServer, path: str) -> Iterator[None]:
    """Asks for a page again and again; only towards our own server, and it ends with the test."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.01):
            try:
                urllib.request.urlopen(web.url(path, scheme="http"), timeout=10).close()
            except OSError:
                pass  # the worker was killed by the test: the next one answers

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def two_workers() -> Iterator[WebServer]:
    with SERVERS["gunicorn-gevent"]("flask", workers=2) as web:
        wait_for_both(web)  # each is listed from its first request on
        yield web


def wait_for_both(web: WebServer) -> None:
    wait_until(lambda: len({web.get("/hello") for _ in range(8)}) == 2, "both workers to answer", timeout=20)


@contextmanager
def in_front_of(stand_in: StandIn) -> Iterator[WebServer]:
    env = {"RBKIT_PUB_ENDPOINT": stand_in.pub_endpoint, "RBKIT_REQ_ENDPOINT": stand_in.req_endpoint}
    with SERVERS["gunicorn-gevent"]("plain", env=env) as web:
        yield web


def test_the_printed_address_opens_the_dashboard_and_gives_up_its_token(chromium: Chrome, two_workers) -> None:
    with dashboard(chromium, two_workers) as page:
        page.wait_for_state("Live")
        assert TOKEN not in chromium.current_url
        assert TOKEN not in page.value("JSON.stringify(history.state) + document.cookie + document.body.innerHTML")
        page.wait(lambda: len(page.all(".top select option")) == 2, "both workers in the list")
        # The address without its slash, which people type, and the token with it.
        chromium.get("about:blank")
        chromium.get(page.address.rstrip("/") + f"#token={TOKEN}")
        page.wait_for_state("Live")
        assert chromium.current_url.partition("?")[0] == page.address
        assert page.console() == []


def test_a_wrong_token_leads_to_the_door_and_a_right_one_through_it(chromium: Chrome, two_workers) -> None:
    with dashboard(chromium, two_workers, token="wrong") as page:
        page.wait(lambda: "A token opens this page" in page.text(), "the door")
        assert "rbkit: watch this application at" in page.text()
        assert page.axe() == []
        page.screenshot("door")
        field = page.find("input[aria-label=Token]")
        field.send_keys("still wrong", Keys.ENTER)
        page.wait(lambda: "not the right one." in page.text("[role=alert]"), "what is wrong")
        field.clear()
        field.send_keys(TOKEN, Keys.ENTER)
        page.wait_for_state("Live")
        # Chromium reports each answer of 401, and there is nothing else.
        assert all("401 (Unauthorized)" in message for message in page.console())


def test_where_no_websocket_can_be_had_the_page_says_why_and_waits_for_a_click(chromium: Chrome) -> None:
    with UNSUPPORTED["gunicorn-sync"]() as web, dashboard(chromium, web) as page:
        page.wait(lambda: "This web server cannot carry the dashboard" in page.text(), "the refusal")
        assert "gunicorn's sync worker serves one request at a time" in page.text(".notice")
        assert page.axe() == []
        page.screenshot("impossible")
        before = web.log().count("/__rbkit__/servers")
        page.find("button.primary").click()
        page.wait(lambda: web.log().count("/__rbkit__/servers") > before, "the second attempt")
        page.wait(lambda: "cannot carry" in page.text(), "the second refusal")
        assert all("WebSocket connection to" in message for message in page.console())


def test_the_cpu_panel_finds_the_hot_function_and_its_request(chromium: Chrome, tmp_path: Path) -> None:
    with SERVERS["gunicorn-gevent"]("flask") as web, load(web, "/busy?seconds=0.05"), dashboard(chromium, web) as page:
        page.wait_for_state("Live")
        page.show("cpu", "CPU")
        page.press("Start sampling")
        page.press("Table")
        page.wait(lambda: "burn_cpu" in page.text(".functions"), "the hot function")
        page.choose("Request", "GET /busy")
        page.wait(lambda: "burn_cpu" in page.text(".functions"), "it in its request")
        page.choose("Request", "Outside of requests")
        page.wait(lambda: "burn_cpu" not in page.text(".functions"), "nothing of it elsewhere")
        page.choose("Request", "All requests")
        page.press("Flame graph")

        search = page.find("input[type=search]")
        search.send_keys("burn_cpu")
        page.wait(lambda: "in or below what matches" in page.text(".legend"), "what the search found")
        graph = page.find(".flame-scroll")
        graph.click()
        for _ in range(60):
            if page.text(".flame-chosen").startswith("burn_cpu"):
                break
            graph.send_keys(Keys.ARROW_DOWN)
        assert page.text(".flame-chosen").startswith("burn_cpu"), "by keys to the widest callee, again and again"
        assert "apps.py:" in page.text(".flame-chosen")
        page.screenshot("cpu-chosen")

        for kind in ("Inverse", "Flame graph"):
            page.press(kind)
        page.press("Pin")
        page.wait(lambda: "takes a greater share" in page.text(".legend"), "the comparison")
        page.screenshot("cpu-compared")
        page.press("Unpin")

        chromium.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
        suffixes = {
            "Collapsed stacks": "*.collapsed.txt",
            "speedscope": "*.speedscope.json",
            "Picture (SVG)": "*.svg",
            "Picture (PNG)": "*.png",
        }
        for words, pattern in suffixes.items():
            page.choose("Save as a file", words)
            page.wait(lambda pattern=pattern: list(tmp_path.glob(pattern)), f"the file {pattern}")
        lines = next(tmp_path.glob("*.collapsed.txt")).read_text().splitlines()
        assert any("burn_cpu" in line and int(line.rpartition(" ")[2]) > 0 for line in lines)
        frames = json.loads(next(tmp_path.glob("*.speedscope.json")).read_text())["shared"]["frames"]
        assert "burn_cpu" in {frame["name"] for frame in frames}
        assert "burn_cpu" in next(tmp_path.glob("*.svg")).read_text()
        assert next(tmp_path.glob("*.png")).read_bytes().startswith(b"\x89PNG")

        page.press("Stop sampling")
        page.press("Start sampling")
        assert page.console() == []


def test_it_comes_back_when_the_worker_is_killed_and_when_another_is_chosen(chromium: Chrome, two_workers) -> None:
    with dashboard(chromium, two_workers) as page:
        page.wait_for_state("Live")
        page.wait(lambda: len(page.all(".top select option")) == 2, "both workers in the list")

        def watched() -> int:
            return int(page.text(".who span").split()[1])

        first = watched()
        other = next(pid for pid in two_workers.worker_pids() if pid != first)
        chosen = next(option for option in page.all(".top select option") if f"pid {other}" in option.text)
        chosen.click()
        page.wait(lambda: watched() == other, "the other worker")
        page.wait_for_state("Live")
        assert page.console() == []

        os.kill(other, signal.SIGKILL)
        page.wait_for_state("Disconnected")
        # The new worker is there for the page's own requests alone.
        page.wait(lambda: page.text("[role=status].pill").startswith("Live") and watched() != other, "another worker")
        assert all("ERR_" in message or "WebSocket" in message for message in page.console())
        assert f"The worker that was watched (pid {other}) has ended" in page.text(".main")
        page.press("All right")
        # gunicorn's new worker would miss the signal that ends the server while it still starts.
        wait_for_both(two_workers)


def test_a_ruby_servers_samples_are_counted_and_hostile_names_stay_text(chromium: Chrome) -> None:
    with StandIn() as rbkit, in_front_of(rbkit) as web, dashboard(chromium, web) as page:
        page.wait_for_state("Live")
        rbkit.wait_for_subscribers()
        page.show("cpu", "CPU")
        page.press("Start sampling")
        rbkit.wait_for_command(b"start_cpu_profiling")
        assert b"start_cpu_polling" not in rbkit.commands
        frames = [{12: HOSTILE, 13: HOSTILE, 6: "/srv/<b>.rb", 7: 3, 14: 0, 15: 1}]
        now = time.time() * 1000
        samples = [{0: 9, 1: now + number, 2: frames} for number in range(50)]
        rbkit.publish(pack({0: 7, 1: now, 9: 0, 2: samples}), RECORDINGS["cpu_sample"])
        page.press("Table")
        page.wait(lambda: "<img src=x" in page.text(".functions"), "the function by its name")
        assert "/srv/<b>.rb:3" in page.text(".functions")
        assert "\u202e" not in page.text()
        assert page.all(".functions img, .functions b") == []
        page.press("Flame graph")
        page.find(".flame-scroll").send_keys(Keys.ARROW_DOWN)
        page.wait(lambda: "<img src=x" in page.text(".flame-chosen"), "the bar's name")
        page.show("process", "Process")
        assert "stand-in with a name" in page.text()
        assert page.console() == []


def test_losses_other_clients_and_the_end_of_the_server_are_told(chromium: Chrome) -> None:
    with StandIn() as rbkit, in_front_of(rbkit) as web, dashboard(chromium, web) as page:
        page.wait_for_state("Live")
        rbkit.wait_for_subscribers()
        for counter in (1, 2, 9):
            rbkit.publish(pack({0: 7, 1: 1.0, 9: counter, 2: [{0: 2, 1: 1.0}]}))
        page.wait(lambda: "6 lost" in page.text(".top"), "the gap of six")
        with connect(web.url(token=TOKEN)):
            page.wait(lambda: "1 other client" in page.text(".top"), "the other client")
        rbkit.stop()
        page.wait_for_state("Disconnected")
        assert "No Rbkit server is running" in page.text(".main") or "server went away" in page.text(".main")
        page.screenshot("disconnected")
        rbkit.start()
        page.wait_for_state("Live")
        assert "lost" not in page.text(".top")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_panel_is_accessible_at_each_size(chromium: Chrome, theme: str) -> None:
    panels = {"": "Overview", "cpu": "CPU", "process": "Process"}
    with SERVERS["gunicorn-gevent"]("flask") as web, load(web, "/busy?seconds=0.05"), dashboard(chromium, web) as page:
        page.wait_for_state("Live")
        page.use_theme(theme)
        found = []
        page.show("cpu", "CPU")
        found += page.axe()
        page.press("Start sampling")
        page.find(".flame-canvas")
        for size in SIZES:
            page.resize(size)
            for panel, heading in panels.items():
                page.show(panel, heading)
                if panel == "cpu":
                    page.find(".flame-canvas")
                wide = page.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide <= 0, f"{heading} is wider than the {size}"
                found += page.axe()
                page.screenshot(f"{heading}-{size}-{theme}")
        page.show("cpu", "CPU")
        page.press("Table")
        page.find(".functions td")
        found += page.axe()
        page.resize("desktop")
        page.use_theme("light")
        assert found == []
        assert page.console() == []
