"""A server that says nothing of itself beyond the protocol: the page claims nothing that it cannot know."""

from __future__ import annotations

import time
from typing import Any

import pytest
from selenium.webdriver import Chrome
from support.panelpage import PanelPage
from support.servers import TOKEN
from support.standin import pack

from .test_memory_panels import ruby

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.usefixtures("bundle")]

PANELS = ("", "cpu", "memory", "snapshots", "greenlets", "process")

# What holds for a Python process, for the clock of our own sampler, or for our own server alone.
UNFOUNDED = (
    "Resident",
    "What the system counts",
    "Without mapped files",
    "Longest pause",
    "longest pause",
    "of one core",
    "every 1.0 ms",
    "1.0 ms",
    "ends by itself",
    "a few per cent",
    "a little",
    "0.1 s for a million",
    "bytes an object",
    "through a gateway",
    "Python's allocator",
)


def collection(*events: dict[int, Any]) -> bytes:
    return pack({0: 7, 1: time.time() * 1000, 9: 0, 2: list(events)})


def claims(page: PanelPage) -> dict[str, list[str]]:
    """What each panel says that it cannot know, by panel."""
    found = {}
    for panel in PANELS:
        page.go(panel)
        page.wait(lambda panel=panel: page.value("location.hash") == f"#/{panel}", f"the panel {panel!r}")
        words = page.text()
        page.screenshot(f"foreign-{panel or 'overview'}")
        found[panel] = [claim for claim in UNFOUNDED if claim in words]
    return found


def test_no_panel_claims_what_the_server_does_not_tell(chromium: Chrome) -> None:
    with ruby(chromium) as (page, rbkit):
        page.enter()
        rbkit.wait_for_subscribers()
        page.go("cpu")
        page.wait_for("goes on until somebody switches it off")
        page.go("memory")
        page.wait_for("goes on until somebody switches it off")
        assert claims(page) == {panel: [] for panel in PANELS}

        page.go("memory")
        page.click("Start watching", "main .empty button")
        page.go("cpu")
        page.click("Start sampling")
        rbkit.wait_for_command(b"start_cpu_profiling")
        now = time.time() * 1000
        frames = [{12: "spin", 13: "Hot#spin", 6: "/srv/hot.rb", 7: 3, 14: 0, 15: 1}]
        rbkit.publish(
            collection(*({0: 9, 1: now + number, 2: frames} for number in range(120))),
            # A mark of 4 ms, and a sweep that the program goes on beside.
            collection({0: 2, 1: now}, {0: 3, 1: now + 4}, {0: 4, 1: now + 2200}),
            collection({0: 0, 1: now, 2: {3: 16, 4: "String"}}),
            collection({0: 6, 1: now, 2: {"total_memsize": 3460300, "total_heap_size": 5 << 20, "heap_live_slots": 9}}),
        )
        page.wait_for("120 samples")
        page.go("memory")
        page.wait_for("All objects")
        figures = page.text(".figures")
        assert "3.3 MiB" in figures
        assert "Longest mark\n4.0 ms" in figures
        assert "2.20 s" not in page.text()
        assert claims(page) == {panel: [] for panel in PANELS}


def test_figures_that_never_come_have_no_place(chromium: Chrome) -> None:
    with ruby(chromium) as (page, rbkit):
        page.enter("memory")
        rbkit.wait_for_subscribers()
        page.click("Start watching", "main .empty button")
        rbkit.wait_for_command(b"start_memory_profile")
        now = time.time() * 1000
        rbkit.publish(collection({0: 6, 1: now, 2: {"count": 7}}, {0: 0, 1: now, 2: {3: 16, 4: "String"}}))
        page.wait(lambda: ["count", "7"] in [row[:2] for row in page.rows("Collector statistics")], "the statistics")
        page.wait(lambda: "Live objects\n1" in page.text(".figures"), "the one object")
        assert "All objects" not in page.text()
        assert "Object slots" not in page.text()
        assert "Used slots" not in page.text()
        page.go("")
        page.wait(lambda: "1 live object\n" in page.text(), "the overview's figure, one and no more")


# What a chart's axes have written beside them, by their height.
_LABELS = """
window.labels = new Map();
const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
const title = (context) => context.canvas.closest('.timechart')?.querySelector('h3')?.textContent;
CanvasRenderingContext2D.prototype.clearRect = function (...area) {
  labels.delete(title(this));  // each time that a chart is drawn, its labels may stand elsewhere
  return clearRect.apply(this, area);
};
CanvasRenderingContext2D.prototype.fillText = function (words, x, y) {
  const name = title(this);
  const at = this.getTransform().transformPoint(new DOMPoint(x, y));
  if (name) labels.set(name, (labels.get(name) ?? new Map()).set(Math.round(at.y), words));
  return fillText.call(this, words, x, y);
};
"""


def test_an_axis_of_whole_things_has_no_label_twice(chromium: Chrome) -> None:
    with ruby(chromium) as (page, rbkit):
        page.enter("memory")
        rbkit.wait_for_subscribers()
        page.chromium.execute_script(_LABELS)
        page.click("Start watching", "main .empty button")
        rbkit.wait_for_command(b"start_memory_profile")
        now = time.time() * 1000
        rbkit.publish(collection({0: 0, 1: now, 2: {3: 16, 4: "String"}}))
        page.wait(lambda: "Live objects\n1" in page.text(".figures"), "the one object")
        page.wait(lambda: page.value("window.labels.has('Live objects')"), "its chart")
        written = page.value("[...labels.get('Live objects')].filter(([, words]) => !words.includes(':'))")
        words = [word for _, word in written]
        assert words, "an axis"
        assert len(words) == len(set(words)), words


def test_a_server_that_takes_the_connection_and_does_not_answer_is_told(chromium: Chrome) -> None:
    with ruby(chromium) as (page, rbkit):
        rbkit.silent = True
        page.open(TOKEN)
        page.wait_for("the Rbkit server behind it does not answer")
        page.wait_for_state("Connecting")
        page.screenshot("silent")
        rbkit.stop()
        rbkit.silent = False
        rbkit.start()
        page.wait_for_state("Live")
        assert "does not answer" not in page.text()
