"""The flame graph as it is seen and clicked: pixels on the screen, and what lies under the pointer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from selenium.webdriver import Chrome, Keys
from support.panelpage import PanelPage, panels
from support.servers import SERVERS
from support.standin import StandIn, pack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.usefixtures("bundle")]

ROW = 19
"""Height of a bar in CSS pixels, as ``paint.ts`` has it."""
FOUND = (0xF0, 0xE0, 0x4D)
"""``--flame-found`` of the light theme."""

WHITE = (0xFF, 0xFF, 0xFF)
"""``--surface`` of the light theme, where no bar is."""

# How much of one row of pixels has a colour; as below.
_SHARE = """
const [png, share, color, done] = arguments;
const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
createImageBitmap(new Blob([bytes], {type: 'image/png'})).then((picture) => {
  const context = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
  context.drawImage(picture, 0, 0);
  const {data} = context.getImageData(0, Math.floor(picture.height * share), picture.width, 1);
  let free = 0;
  for (let x = 0; x < picture.width; x++) {
    if (color.every((value, at) => Math.abs(data[x * 4 + at] - value) <= 3)) free++;
  }
  done(free / picture.width);
});
"""

# Runs of a colour down one column of a PNG, as [first, last + 1] in shares of its height. Decoded by the browser, to
# whose policy a blob of the script's own is no image from elsewhere.
_RUNS = """
const [png, share, color, done] = arguments;
const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
createImageBitmap(new Blob([bytes], {type: 'image/png'})).then((picture) => {
  const context = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
  context.drawImage(picture, 0, 0);
  const x = Math.min(picture.width - 1, Math.floor(picture.width * share));
  const {data} = context.getImageData(x, 0, 1, picture.height);
  const runs = [];
  for (let y = 0; y < picture.height; y++) {
    if (color.some((value, at) => Math.abs(data[y * 4 + at] - value) > 3)) continue;
    const last = runs.at(-1);
    if (last && last[1] === y / picture.height) last[1] = (y + 1) / picture.height;
    else runs.push([y / picture.height, (y + 1) / picture.height]);
  }
  done(runs);
});
"""


def frame(label: str, file: str = "/srv/app.rb", line: int = 1) -> dict[int, Any]:
    return {12: label, 13: label, 6: file, 7: line, 14: 0, 15: 1}


def publish(rbkit: StandIn, stacks: dict[tuple[str, ...], int]) -> None:
    """Samples of stacks (callers first), each counted for a millisecond by whoever reads them."""
    now = time.time() * 1000
    samples = [
        {0: 9, 1: now, 2: [frame(label) for label in reversed(stack)]} for stack, count in stacks.items()
        for _ in range(count)
    ]  # fmt: skip
    for start in range(0, len(samples), 400):
        rbkit.publish(pack({0: 7, 1: now, 9: rbkit.published, 2: samples[start : start + 400]}))
    rbkit.wait_until_idle()


class Flame:
    """The graph of a page, by its screen."""

    def __init__(self, page: PanelPage) -> None:
        self.page = page
        self.zoom = 1.0
        """Pixels of a screenshot to each of CSS; the driver counts its mouse in the latter."""

    def box(self) -> dict[str, float]:
        """The canvas in CSS pixels, how far it is scrolled, and how many of the device's pixels it has across."""
        return self.page.value(
            "(() => { const canvas = document.querySelector('.flame-canvas');"
            "const {left, top, width, height} = canvas.getBoundingClientRect();"
            "return {left, top, width, height, pageTop: scrollY, ratio: devicePixelRatio, backing: canvas.width,"
            "scroll: document.querySelector('.flame-scroll').scrollTop}; })()"
        )

    def _look(self, script: str, share: float, color: tuple[int, int, int]) -> Any:
        box = self.box()
        top = box["top"] + box["pageTop"]  # of the document, not of the window
        places = {"x": box["left"], "y": top, "width": box["width"], "height": box["height"]}
        clip = {name: place * self.zoom for name, place in places.items()} | {"scale": 1}
        chromium = self.page.chromium
        shot = chromium.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})["data"]
        return chromium.execute_async_script(script, shot, share, color)

    def runs(self, share: float, color: tuple[int, int, int]) -> list[tuple[float, float]]:
        """Where the screen has a colour, down the graph at a share of its width: CSS pixels from the canvas's top."""
        height = self.box()["height"]
        return [(first * height, last * height) for first, last in self._look(_RUNS, share, color)]

    def free(self, row: int) -> float:
        """The share of a row's width where no bar is drawn."""
        return self._look(_SHARE, ((row + 0.2) * ROW - self.box()["scroll"]) / self.box()["height"], WHITE)

    def found(self) -> float | None:
        """The middle of the one bar that the search marks, in CSS pixels from the canvas's top; None if unseen."""
        # At the right, where no label is written.
        runs = self.runs(0.98, FOUND)
        assert len(runs) <= 1, "one bar is marked, and no more"
        return sum(runs[0]) / 2 if runs else None

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """An event of the mouse at a place of the canvas."""
        box = self.box()
        event = {"type": kind, "x": box["left"] + x, "y": box["top"] + y, **more}
        self.page.chromium.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def wheel(self, pixels: float) -> None:
        """Turns the wheel above the graph, and waits until that has come to its end and is drawn."""
        ended = "window.ended = false; document.querySelector('.flame-scroll').addEventListener('scrollend', "
        self.page.chromium.execute_script(ended + "() => { window.ended = true; }, {once: true})")
        self.mouse("mouseWheel", 100, 50, deltaX=0, deltaY=pixels)
        self.page.wait(lambda: self.page.value("window.ended"), f"the graph to scroll by {pixels}")
        self.page.chromium.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def click(self, x: float, y: float) -> None:
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def chosen(self) -> str:
        """The function below the graph, after a click."""
        return (self.page.text(".flame-chosen").split() or [""])[0]


@contextmanager
def sampled(chromium: Chrome, stacks: dict[tuple[str, ...], int]) -> Iterator[tuple[PanelPage, Flame, StandIn]]:
    """The CPU panel of a server that has published these stacks and has stopped since."""
    with StandIn() as rbkit:
        env = {"RBKIT_PUB_ENDPOINT": rbkit.pub_endpoint, "RBKIT_REQ_ENDPOINT": rbkit.req_endpoint}
        with SERVERS["gunicorn-gevent"]("plain", env=env) as web, panels(chromium, web) as page:
            page.enter("cpu")
            page.use_theme("light")
            rbkit.wait_for_subscribers()
            page.press("Start sampling")
            publish(rbkit, stacks)
            page.find(".flame-canvas")
            page.press("Stop sampling")
            page.choose("Stretch of time", "Since the start")
            page.wait(lambda: f"{sum(stacks.values()):,} samples" in page.text(), "all samples")
            yield page, Flame(page), rbkit


@contextmanager
def zoomed(flame: Flame, factor: float) -> Iterator[None]:
    """The browser's own zoom, as its menu has it."""
    page, chromium = flame.page, flame.page.chromium
    chromium.set_window_size(1280, 800)
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    shown = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    settings = chromium.current_window_handle

    def zoom(to: float) -> None:
        chromium.switch_to.window(settings)
        chromium.get("chrome://settings/")
        chromium.execute_script("chrome.settingsPrivate.setDefaultZoom(arguments[0])", to)

    try:
        zoom(factor)
        chromium.switch_to.window(shown)
        page.wait(lambda: abs(page.value("devicePixelRatio") - factor) < 0.01, f"a zoom of {factor}")
        flame.zoom = factor
        yield
    finally:
        zoom(1)
        flame.zoom = 1.0
        chromium.close()
        chromium.switch_to.window(shown)


DEEP = tuple(f"level{depth:02d}" for depth in range(60))


def scrolls_truly(page: PanelPage, flame: Flame) -> None:
    """Turns the wheel up and down: each bar is where it has to be, and is what the pointer and a click hit."""
    page.chromium.execute_script("document.querySelector('.flame-scroll').scrollIntoView({block: 'center'})")

    def fine() -> bool:
        box = flame.box()
        return abs(box["backing"] - box["width"] * box["ratio"]) <= 2

    page.wait(fine, "a canvas as fine as the screen")
    for depth in (20, 45, 7):
        page.fill("Search functions and files", DEEP[depth])

        def middle_of(depth: int = depth) -> float:
            return (depth + 1.5) * ROW - flame.box()["scroll"]

        # More than once, since a zoomed page goes another way than the wheel says.
        while not ROW < middle_of() < flame.box()["height"] - ROW:
            flame.wheel(middle_of() - flame.box()["height"] / 3)
        middle = page.wait(flame.found, f"{DEEP[depth]} on the screen, scrolled to {flame.box()['scroll']}")
        assert abs(middle - middle_of()) <= 2, f"{DEEP[depth]} is {middle - middle_of()} px from where it should be"
        flame.mouse("mouseMoved", 200, middle)
        page.wait(lambda d=depth: page.text(".tooltip").startswith(DEEP[d]), f"the words on {DEEP[depth]}")
        flame.click(200, middle)
        page.wait(lambda d=depth: flame.chosen() == DEEP[d], f"{DEEP[depth]}, which was clicked")
        page.press("Show all again")


def test_a_scrolled_graph_shows_and_hits_the_same_bars(chromium: Chrome) -> None:
    with sampled(chromium, {DEEP: 100}) as (page, flame, _):
        scrolls_truly(page, flame)
        for factor in (1.5, 0.8):
            with zoomed(flame, factor):
                scrolls_truly(page, flame)
        metrics = {"width": 1100, "height": 700, "deviceScaleFactor": 2.5, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scrolls_truly(page, flame)


def test_what_is_too_thin_to_be_seen_is_a_bar_of_many_that_opens(chromium: Chrome) -> None:
    thin = {("main", "busy", f"thin{number:04d}"): 1 for number in range(1200)}
    with sampled(chromium, {("main", "busy", "wide"): 400, ("main", "busy"): 200, **thin}) as (page, flame, _):
        # Of its 1800 samples 200 are its own: a ninth of what is below it is free, and no more.
        assert abs(flame.free(row=3) - 1 / 9) < 0.02
        assert flame.free(row=2) < 0.01
        page.screenshot("flame-many")
        at = flame.box()["width"] / 2
        # All of them are as thin as before, so they are divided by name until each has its place.
        for row, words in ((3, "+ 1,200 others"), (4, "+ 75 others"), (5, "thin0")):
            flame.mouse("mouseMoved", at, (row + 0.5) * ROW)
            page.wait(lambda w=words: page.text(".tooltip").startswith(w), words)
            flame.click(at, (row + 0.5) * ROW)
            page.wait(lambda w=words: page.text(".flame-chosen").startswith(w), f"{words}, clicked")
            if row < 5:
                assert flame.free(row=row + 1) < 0.1, "the opened ones take all of the width but for the lines between"
        assert "total 1 sample (0.1%)" in page.text(".flame-chosen")
        # And back, one by one.
        for words in ("busy", "main"):
            page.find(".flame-scroll").send_keys(Keys.ESCAPE)
            page.wait(lambda: flame.free(row=3) > 0.1, f"{words}, as before")
