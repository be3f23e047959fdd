"""The dashboard in a browser, as a person uses it: words to look for, things to press, and what must never be seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from .servers import TOKEN, WebServer
from .waiting import scaled

ROOT = Path(__file__).parents[2]
SIZES = {"desktop": (1280, 720), "phone": (390, 844)}
THEMES = ("light", "dark")
ARTIFACTS = Path(os.environ.get("RBKIT_TEST_ARTIFACTS") or ROOT / "test-artifacts")
AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"

# Kept from the very start of the page, so that nothing that happens while it loads is missed.
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
window.longest = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
}).observe({ entryTypes: ["longtask"] });
window.alerted = 0;
window.alert = () => { window.alerted++; };
"""


class Page:
    """The page of one web server.

    Args:
        chromium: the browser session.
        web: the server; its token is :data:`~support.servers.TOKEN` or none.
    """

    def __init__(self, chromium: Chrome, web: WebServer) -> None:
        self.chromium = chromium
        self.web = web

    def open(self, panel: str = "") -> None:
        """Opens the dashboard with the token and waits until it is live."""
        token = "" if self.web.token == "false" else f"#token={TOKEN}"
        self.chromium.get("about:blank")
        self.chromium.get(self.web.url("/__rbkit__/", scheme="http") + token)
        self.wait_for("Live")
        self.go(panel)

    def go(self, panel: str) -> None:
        """To a panel by its entry in the navigation."""
        self.chromium.find_element(By.CSS_SELECTOR, f'nav[aria-label="Panels"] a[href="#/{panel}"]').click()

    # What is there

    @property
    def main(self) -> WebElement:
        return self.chromium.find_element(By.ID, "main")

    @property
    def text(self) -> str:
        """What is to be read on the whole page."""
        return self.chromium.find_element(By.TAG_NAME, "body").text

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 20) -> Any:
        """Waits until the condition holds and returns its value; an element that is replaced meanwhile is no failure."""
        wait = WebDriverWait(
            self.chromium, scaled(timeout), 0.05, ignored_exceptions=[StaleElementReferenceException, IndexError]
        )
        try:
            return wait.until(lambda _: condition())
        except TimeoutException:
            raise AssertionError(f"{what} did not come; the page reads:\n{self.text}") from None

    def wait_for(self, words: str, timeout: float = 20) -> None:
        self.wait(lambda: words in self.text, repr(words), timeout)

    def find(self, selector: str, words: str = "") -> list[WebElement]:
        """Visible elements that contain the words in their text or label."""
        return [
            element
            for element in self.chromium.find_elements(By.CSS_SELECTOR, selector)
            if element.is_displayed() and (words in element.text or words in (element.get_attribute("aria-label") or ""))
        ]

    def press(self, words: str, selector: str = "main button, main summary") -> None:
        """Presses the first button with these words."""

        def pressed() -> bool:
            element = self.find(selector, words)[0]
            self.chromium.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.wait(pressed, f"a button {words!r}")

    def type(self, label: str, words: str) -> None:
        """Types into the field with this label, in place of what is there."""
        field = self.wait(lambda: self.find("main input", label)[0], f"a field {label!r}")
        self.chromium.execute_script("arguments[0].value = ''", field)
        field.send_keys(words)

    def rows(self, label: str) -> list[list[str]]:
        """Texts of the cells of a table's body."""
        script = (
            "return [...document.querySelectorAll('table')]"
            ".filter(table => table.getAttribute('aria-label') === arguments[0])"
            ".flatMap(table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText)))"
        )
        return self.chromium.execute_script(script, label)

    def value(self, expression: str) -> Any:
        return self.chromium.execute_script(f"return {expression};")

    # What must not be

    def is_sound(self) -> None:
        """Nothing in the console, no violation of the content security policy, no foreign script that ran."""
        severe = [entry["message"] for entry in self.chromium.get_log("browser") if entry["level"] == "SEVERE"]
        assert severe == []
        assert self.value("window.violations") == []
        assert self.value("window.alerted") == 0

    def is_accessible(self) -> None:
        """No serious finding of axe."""
        self.chromium.execute_script(AXE.read_text())
        found = self.chromium.execute_async_script(
            "const done = arguments[0];"
            "axe.run(document, {resultTypes: ['violations']}).then("
            "  ({violations}) => done(violations.filter(({impact}) => impact === 'serious' || impact === 'critical')"
            "    .map(({id, nodes}) => [id, nodes.slice(0, 3).map(node => node.html)])),"
            "  error => done(String(error)))"
        )
        assert found == []

    def resize(self, size: str) -> None:
        width, height = SIZES[size]
        self.chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"},
        )

    def show(self, name: str) -> None:
        """Pictures of the page at both sizes in both themes, each accessible and none wider than the screen."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        for theme in THEMES:
            if self.value("document.documentElement.dataset.theme") != theme:
                self.press(f"{theme.capitalize()} theme", "header button")
            for size in SIZES:
                self.resize(size)
                self.chromium.execute_script("window.scrollTo(0, 0)")
                self.settle()
                wide = self.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide <= 0, f"{name} is {wide} px wider than a {size}"
                self.is_accessible()
                self.chromium.save_screenshot(str(ARTIFACTS / f"{name}-{theme}-{size}.png"))
        self.resize("desktop")

    def settle(self) -> None:
        """Waits until what has been changed is drawn."""
        self.chromium.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done(true)))"
        )


@contextmanager
def dashboard(chromium: Chrome, web: WebServer) -> Iterator[Page]:
    """The page for one test, watched from its beginning; at the end it must have been sound."""
    script = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
    page = Page(chromium, web)
    page.resize("desktop")
    chromium.get_log("browser")
    try:
        yield page
        page.is_sound()
    finally:
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        chromium.get("about:blank")
