"""Several workers behind one page: which of them it shows is known, and stays known."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from selenium.webdriver import Chrome
from support.panelpage import SIZES, PanelPage, panels
from support.servers import SERVERS, WebServer

from .test_dashboard import wait_for_both
from .test_memory_panels import take

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.usefixtures("bundle")]


def watched(page: PanelPage) -> int:
    """The pid in the bar at the top."""
    words = page.text(".who span").split()
    return int(words[1]) if words[:1] == ["pid"] else 0


def watch_the_other(page: PanelPage, web: WebServer) -> int:
    """Chooses the other one of two workers; its pid."""
    page.wait(lambda: len(page.all(".top select option")) == 2, "both workers in the list")
    other = next(pid for pid in web.worker_pids() if pid != watched(page))
    next(option for option in page.all(".top select option") if f"pid {other}" in option.text).click()
    page.wait(lambda: watched(page) == other, "the other worker")
    page.wait_for_state("Live")
    return other


def test_loading_again_leads_to_the_same_worker(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("flask", workers=2) as web, panels(chromium, web) as page:
        wait_for_both(web)
        page.enter()
        other = watch_the_other(page, web)
        page.go("process")
        # Any of the two takes a connection that names none: ten times the same one is no chance.
        for _ in range(10):
            chromium.refresh()
            page.wait_for_state("Live")
            assert watched(page) == other
        assert chromium.current_url.endswith("#/process")

        os.kill(other, signal.SIGKILL)
        page.wait_for(f"The worker that was watched (pid {other}) has ended. This is another one")
        wait_for_both(web)
        page.wait(lambda: page.seen("main .notice button", "Watch pid"), "the other worker, offered")
        now = watched(page)
        page.click("Watch pid", "main .notice button")
        page.wait(lambda: watched(page) not in (0, now), "the one that was offered")
        page.wait_for_state("Live")
        # The connection that broke, and nothing of the page's own.
        assert all("ERR_" in message or "WebSocket" in message for message in page.console())


def test_the_workers_of_the_overview_are_to_be_read_whole(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("flask", workers=2) as web, panels(chromium, web) as page:
        wait_for_both(web)
        page.enter()
        page.wait(lambda: "· watched" in page.text(".bars.workers"), "which one is watched")
        page.wait(lambda: page.text(".bars.workers").count("running") == 2, "what both do")
        for size in SIZES:
            page.resize(size)
            page.screenshot(f"workers-{size}")
            cut = "[...document.querySelectorAll('.bars.workers li')].map(row => row.scrollWidth - row.clientWidth)"
            assert page.value(cut) == [0, 0], size


def test_snapshots_of_two_workers_are_not_compared_object_by_object(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("flask", workers=2) as web, panels(chromium, web) as page:
        wait_for_both(web)
        page.enter("snapshots")
        page.wait_for("What it costs:")
        first = watched(page)
        take(page, 1)
        other = watch_the_other(page, web)
        take(page, 2)
        page.click("Compare")
        page.wait_for("These are two processes")
        note = page.text(".notice.warn")
        assert f"pid {first}" in note
        assert f"pid {other}" in note
        page.wait(lambda: page.rows("Changes by class"), "the comparison")
        assert {len(row) for row in page.rows("Changes by class")} == {3}, "names, sizes and numbers alone"
        take(page, 3)
        page.click("Compare")
        page.wait(lambda: {len(row) for row in page.rows("Changes by class")} == {6}, "two of one process, in full")
        assert "These are two processes" not in page.text()


def test_growth_is_counted_from_the_beginning_of_this_watch(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("flask") as web, panels(chromium, web) as page:
        page.enter("memory")
        page.click("Start watching", "main .empty button")
        leaked = _column(page, "support.apps.Leaked")
        page.wait_for("growth since")
        page.click("Stop watching")
        web.get("/leak", count="12000")
        page.click("Start watching")
        page.wait(lambda: leaked(1) == "12,000" and leaked(2) == "0", "what was there before, and no growth")
        web.get("/leak", count="500")
        page.wait(lambda: leaked(2) == "+500", "what has come since", timeout=40)
        page.click("From now")
        page.wait(lambda: leaked(1) == "12,500" and leaked(2) == "0", "a new beginning")


def _column(page: PanelPage, name: str) -> Callable[[int], str]:
    def cell(column: int) -> str:
        return next((row[column] for row in page.rows("Live objects by class") if row[0] == name), "")

    return cell
