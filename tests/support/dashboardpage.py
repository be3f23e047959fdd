"""The dashboard as a person uses it, in a real browser."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from .waiting import wait_until

AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
"""Put there by ``npm ci`` in ``frontend/``."""

SIZES = {"desktop": (1280, 720), "phone": (390, 844)}


def forget_cookies(chromium: Chrome) -> None:
    """All of them; ``delete_all_cookies`` knows those of the page that is shown alone, and of ``about:blank`` none."""
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})


class DashboardPage:
    """Drives one page; every wait is for what a person would see.

    Args:
        address: of the mount, with a slash at the end and without a token.
    """

    def __init__(self, chromium: Chrome, address: str) -> None:
        self.chromium = chromium
        self.address = address

    # Going there

    def open(self, token: str | None = None, panel: str = "") -> DashboardPage:
        """Loads the page anew; with a token as the printed address has it."""
        self.chromium.get("about:blank")
        forget_cookies(self.chromium)
        self.chromium.get_log("browser")  # what came before is none of this page's
        self.chromium.get(self.address + (f"#token={token}" if token is not None else f"#/{panel}"))
        return self

    def wait_for_state(self, words: str) -> None:
        """Until the connection's state begins with ``words``: Live, Connecting, Disconnected."""
        self.wait(lambda: self.text("[role=status].pill").startswith(words), f"the state {words}")

    def show(self, panel: str, heading: str) -> None:
        """Goes to a panel by its link."""
        self.find(f'.side a[href="#/{panel}"]').click()
        self.wait(lambda: self.text("h1") == heading, f"the panel {heading}")

    def resize(self, size: str) -> None:
        """One of :data:`SIZES`."""
        width, height = SIZES[size]
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
        self.chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def use_theme(self, theme: str) -> None:
        """``light`` or ``dark``, by the button."""
        if self.value("document.documentElement.dataset.theme") != theme:
            self.find(f'button[aria-label="{theme.capitalize()} theme"]').click()
            self.wait(lambda: self.value("document.documentElement.dataset.theme") == theme, f"the theme {theme}")

    # Looking and using

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 20) -> Any:
        """Until ``condition`` is true, on a page that may be drawn anew meanwhile."""

        def steady() -> Any:
            try:
                return condition()
            except StaleElementReferenceException:
                return None

        return wait_until(steady, what, timeout=timeout, every=0.05)

    def find(self, selector: str) -> WebElement:
        """The first element of a CSS selector, once it is there."""
        return self.wait(lambda: next(iter(self.all(selector)), None), f"{selector} on the page")

    def all(self, selector: str) -> list[WebElement]:
        return self.chromium.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "body") -> str:
        """What is to be read there now; empty where it is not on the page."""
        return self.value(f"(document.querySelector({json.dumps(selector)}) || {{}}).innerText || ''")

    def value(self, expression: str) -> Any:
        return self.chromium.execute_script(f"return {expression};")

    def press(self, words: str) -> None:
        """The button with these words."""

        def button() -> WebElement | None:
            return next((b for b in self.all("button") if b.text == words and b.is_enabled()), None)

        self.wait(button, f"the button {words!r}").click()

    def choose(self, label: str, words: str) -> None:
        """An entry of the list with this label."""
        selector = f'select[aria-label="{label}"]'

        def entry() -> bool:
            return any(option.text == words for option in Select(self.find(selector)).options)

        self.wait(entry, f"{words!r} in the list {label!r}")
        Select(self.find(selector)).select_by_visible_text(words)

    # What must not be

    def console(self) -> list[str]:
        """Errors in the console since the last look."""
        return [entry["message"] for entry in self.chromium.get_log("browser") if entry["level"] == "SEVERE"]

    def foreign(self) -> list[str]:
        """What was loaded from elsewhere."""
        loaded = self.value("performance.getEntriesByType('resource').map(entry => entry.name)")
        origin = self.value("location.origin")
        return [name for name in loaded if not name.startswith((origin, "blob:", "data:"))]

    def axe(self) -> list[str]:
        """Serious and critical findings of axe in what is shown."""
        if not AXE.is_file():
            if os.environ.get("CI"):
                pytest.fail(f"{AXE} is missing, and CI must not skip it: npm ci in frontend/")
            pytest.skip("axe-core is not there: npm ci --ignore-scripts in frontend/")
        self.chromium.execute_script(AXE.read_text())
        found = self.chromium.execute_async_script(
            "axe.run({resultTypes: ['violations']}).then(result => arguments[0](result.violations))"
        )
        return [
            f"{finding['id']}: {finding['help']}: {node['html'][:200]} {node['any'][:1]}"
            for finding in found
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]

    def screenshot(self, name: str) -> None:
        """Keeps what is seen in the folder that ``RBKIT_TEST_ARTIFACTS`` names, if it names one."""
        folder = os.environ.get("RBKIT_TEST_ARTIFACTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.chromium.save_screenshot(str(Path(folder, re.sub(r"[^\w.-]+", "-", name) + ".png")))
