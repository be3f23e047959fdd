"""A page that nobody sees is no client of the process: what a real browser keeps of it, and what the server counts."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from selenium.webdriver import Chrome
from support.servers import SERVERS, TOKEN, WebServer
from support.waiting import wait_until

from rbkit_websocket import connect

from .test_dashboard import dashboard

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.usefixtures("bundle")]

QUICK = {"RBKIT_LINGER": "1"}

# What a page waits for longer than ten minutes comes at once.
_IMPATIENT = """
const real = window.setTimeout;
window.setTimeout = (run, ms, ...rest) => real.call(window, run, ms > 600000 ? 50 : ms, ...rest);
"""


def sessions(web: WebServer) -> int:
    """Sessions of all workers, as the list tells."""
    request = urllib.request.Request(
        web.url("/__rbkit__/servers", scheme="http"), headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return sum(server["sessions"] for server in json.load(answer)["servers"])


def sampling(web: WebServer) -> bool:
    with connect(web.url(token=TOKEN)) as client:
        return bool(client.handshake()["cpu_profiling_enabled"])


def wait_for_sessions(web: WebServer, number: int) -> None:
    wait_until(lambda: sessions(web) == number, f"{number} sessions on the server", timeout=20, every=0.1)


def wait_for_sampling(web: WebServer, on: bool) -> None:
    # Whoever asks is a client for a moment as well: asked more often than the server lingers, it would never end.
    wait_until(lambda: sampling(web) is on, f"sampling to be {'on' if on else 'off'}", timeout=30, every=2)


@contextmanager
def another_tab(chromium: Chrome) -> Iterator[None]:
    """In front of the first one, which is shown again in the end."""
    first = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    try:
        yield
    finally:
        chromium.close()
        chromium.switch_to.window(first)


def test_a_page_kept_for_the_way_back_is_no_client(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("flask", env=QUICK) as web, dashboard(chromium, web) as page:
        page.wait_for_state("Live")
        page.press("Start sampling")
        wait_for_sampling(web, True)
        assert sessions(web) == 1
        chromium.execute_script("window.kept = true")

        chromium.get(web.url("/hello", scheme="http"))
        wait_for_sessions(web, 0)
        wait_for_sampling(web, False)

        chromium.back()
        assert page.value("window.kept"), "the browser did not keep the page, so this proves nothing"
        page.wait_for_state("Live")
        wait_for_sessions(web, 1)
        wait_for_sampling(web, True)

        # There and back again, as often as one likes.
        for _ in range(3):
            chromium.get(web.url("/hello", scheme="http"))
            chromium.back()
        page.wait_for_state("Live")
        wait_for_sessions(web, 1)
        assert all("favicon.ico" in message for message in page.console()), "of the page that was gone to"


def test_a_frozen_page_lets_go_and_comes_back(chromium: Chrome) -> None:
    def lifecycle(state: str) -> None:
        chromium.execute_cdp_cmd("Page.setWebLifecycleState", {"state": state})

    with SERVERS["gunicorn-gevent"]("flask") as web, dashboard(chromium, web) as page:
        page.wait_for_state("Live")
        wait_for_sessions(web, 1)
        lifecycle("frozen")
        wait_for_sessions(web, 0)
        lifecycle("active")
        assert page.value("document.visibilityState") == "hidden"
        assert sessions(web) == 0, "it came back before anybody saw it"
        with another_tab(chromium):
            pass
        page.wait_for_state("Live")
        wait_for_sessions(web, 1)


def test_a_tab_that_stays_hidden_lets_go_until_it_is_seen(chromium: Chrome) -> None:
    script: dict[str, Any] = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _IMPATIENT})
    try:
        with SERVERS["gunicorn-gevent"]("flask") as web, dashboard(chromium, web) as page:
            page.wait_for_state("Live")
            wait_for_sessions(web, 1)
            with another_tab(chromium):
                wait_for_sessions(web, 0)
            page.wait_for_state("Live")
            wait_for_sessions(web, 1)
    finally:
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
