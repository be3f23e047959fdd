"""A dashboard page for tests that click through panels: words to look for, tables to read, pictures to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.remote.webelement import WebElement

from .dashboardpage import SIZES, DashboardPage
from .servers import TOKEN, WebServer

THEMES = ("light", "dark")

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

# In one go: a table has thousands of elements, and each question to one of them takes a millisecond or more.
_SEEN = """
return [...document.querySelectorAll(arguments[0])].filter(element =>
  element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && element.getClientRects().length &&
  [element.innerText ?? element.textContent, element.getAttribute('aria-label') ?? ''].some(text =>
    text.includes(arguments[1])));
"""

# The reading of all cells in one go: row by row over the driver it would take seconds, and rows would change meanwhile.
_ROWS = """
return [...document.querySelectorAll('table')]
  .filter(table => table.getAttribute('aria-label') === arguments[0])
  .flatMap(table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText)));
"""


class PanelPage(DashboardPage):
    """Panels of the dashboard."""

    def enter(self, panel: str = "") -> None:
        """Opens the dashboard with the token, waits until it is live and goes to a panel."""
        self.open(TOKEN)
        self.wait_for_state("Live")
        self.go(panel)

    def go(self, panel: str) -> None:
        """To a panel by its entry in the navigation."""
        self.find(f'.side a[href="#/{panel}"]').click()

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 20) -> Any:
        """As in the base; a list that is shorter than expected is not there yet, and a failure tells what is shown."""

        def patient() -> Any:
            try:
                return condition()
            except IndexError:
                return None

        try:
            return super().wait(patient, what, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page reads:\n{self.text()}") from None

    def wait_for(self, words: str, timeout: float = 20) -> None:
        self.wait(lambda: words in self.text(), repr(words), timeout)

    def seen(self, selector: str, words: str = "") -> list[WebElement]:
        """Visible elements with the words in their text or label."""
        return self.chromium.execute_script(_SEEN, selector, words)

    def click(self, words: str, selector: str = "main button, main summary") -> None:
        """The first of these elements with the words."""

        def clicked() -> bool:
            element = self.seen(selector, words)[0]
            self.chromium.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.wait(clicked, f"something to click with {words!r}")

    def fill(self, label: str, words: str) -> None:
        """Types into the field with this label, in place of what is there."""
        field = self.wait(lambda: self.seen("main input", label)[0], f"a field {label!r}")
        self.chromium.execute_script("arguments[0].value = ''", field)
        field.send_keys(words)

    def rows(self, label: str) -> list[list[str]]:
        """Texts of the cells of a table's body."""
        return self.chromium.execute_script(_ROWS, label)

    def pictures(self, name: str) -> None:
        """The page at both sizes in both themes: accessible in each theme, and never wider than the screen."""
        for theme in THEMES:
            self.use_theme(theme)
            for size in SIZES:
                self.resize(size)
                self.chromium.execute_script("window.scrollTo(0, 0)")
                self.chromium.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
                wide = self.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide <= 0, f"{name} is {wide} px wider than a {size}"
                self.screenshot(f"{name}-{theme}-{size}")
            assert self.axe() == []
        self.resize("desktop")

    def is_sound(self) -> None:
        """Nothing in the console, nothing from elsewhere, no violation of the policy, no foreign script that ran."""
        assert self.console() == []
        assert self.foreign() == []
        assert self.value("window.violations") == []
        assert self.value("window.alerted") == 0


@contextmanager
def panels(chromium: Chrome, web: WebServer) -> Iterator[PanelPage]:
    """The page for one test, watched from its beginning; at the end it must have been sound."""
    script = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
    page = PanelPage(chromium, web.url("/__rbkit__/", scheme="http"))
    page.resize("desktop")
    try:
        yield page
        page.is_sound()
    finally:
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        chromium.get("about:blank")
