"""What the page cannot list or see it says, beside the figures that are without it."""

from __future__ import annotations

import re
import sys

import pytest
from selenium.webdriver import Chrome
from support.panelpage import panels
from support.servers import SERVERS

# Before, they share the lock, and are seen.
TOLD = sys.version_info >= (3, 12)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.usefixtures("bundle")]


def test_more_greenlets_than_are_listed_and_another_interpreter(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("crowded") as web, panels(chromium, web) as page:
        page.enter("greenlets")
        page.wait_for("All greenlets")
        page.go("cpu")
        page.click("Start sampling")
        page.wait_for("Last minute")
        assert "not listed" not in page.text()
        assert "other interpreters" not in page.text()

        assert web.get("/crowd") == b"4345"
        web.get("/interpreter")
        if TOLD:
            page.wait_for("there are other interpreters in this process, whose threads are not seen")
        page.go("greenlets")
        page.wait_for("greenlets are not listed", timeout=60)
        words = page.text()
        # The crowd, the request's own, those of the server and of this page's connection.
        button = page.wait(lambda: page.seen("main button", "All greenlets")[0], "a count")
        counted = int(button.text.split()[-1].replace(",", ""))
        left_out = int(words.partition(" greenlets are not listed")[0].split()[-1].replace(",", ""))
        assert 4345 < counted < 4400
        # Those that run come on top of the 2000.
        assert counted - 2010 < left_out <= counted - 2000
        assert ("there are other interpreters in this process" in words) == TOLD
        page.pictures("left-out")
        page.go("")
        page.wait(lambda: page.seen("main section", "Greenlets"), "the card")
        # Connections come and go, and with them their greenlets.
        page.wait(lambda: re.search(r"\b4,3[4-9]\d\b", page.text(".main")), "all of them in the card")
        if TOLD:
            page.wait_for("other interpreters")
