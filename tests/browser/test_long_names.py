"""Names of ten thousand letters, and such that would rearrange what stands around them, wherever the page shows one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgpack
import pytest
from selenium.webdriver import Chrome, Keys
from support.panelpage import PanelPage, panels
from support.servers import SERVERS
from support.standin import StandIn, pack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.usefixtures("bundle")]

LONG = "Long." + "x" * 9_990 + ".End"
PILED = "Piled" + "e\u0301\u0302\u0303\u0304\u0305\u0306\u0307" * 40
HIDDEN = "Hid\u200bden\u2060\ufeff\u202e"

# What shows such a name and takes more room than some lines, or room outside of the window; what scrolls by itself may.
_OFFENDERS = """
const wide = document.documentElement.clientWidth;
return [...document.querySelectorAll('body *')].filter((element) => {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && /x{30}|e\\u0301/.test(node.data));
  if (!own || element.closest('select')) return false;
  const box = element.getBoundingClientRect();
  const scrolls = element.closest('.scroll');
  return box.height > 200 || (!scrolls && (box.right > wide + 1 || box.left < 0)) || element.innerText.length > 600;
}).map((element) => `${element.tagName}.${element.className} ${JSON.stringify(element.getBoundingClientRect())}`);
"""


def holds(page: PanelPage, name: str) -> None:
    """Nothing on the page is pushed away by a name, at either size."""
    for size in ("phone", "desktop"):
        page.resize(size)
        offenders = page.chromium.execute_script(_OFFENDERS)
        assert not offenders, f"{name} on a {size}: {offenders}"
        wide = page.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} px wider than a {size}"
        assert not {"\u200b", "\u202e"} & set(page.text())
        page.screenshot(f"long-{name}-{size}")


def test_names_of_any_length_leave_room_for_all_else(chromium: Chrome, downloads: Path) -> None:
    with StandIn() as rbkit:

        def handshake() -> bytes:
            answer: dict[int, Any] = msgpack.unpackb(rbkit.handshake(), strict_map_key=False)
            answer[2] |= {"process_name": LONG, "pwd": "/" + LONG, "clock_type": "cpu", "a fact": LONG}
            return pack(answer)

        rbkit.answers[b"handshake"] = handshake
        names = (LONG, PILED, HIDDEN)
        objects = [
            {3: 16 * (at + 1), 4: name, 5: [16 * (at + 2)] if at < 2 else [], 6: LONG, 7: 1, 8: 9}
            for at, name in enumerate(names)
        ]
        dump = {0: 5, 1: 1.0, 10: 1, 11: 3, 2: objects}
        rbkit.snapshot = lambda _: iter([pack({0: 7, 1: 1.0, 9: 0, 2: [dump]})])
        env = {"RBKIT_PUB_ENDPOINT": rbkit.pub_endpoint, "RBKIT_REQ_ENDPOINT": rbkit.req_endpoint}
        with SERVERS["gunicorn-gevent"]("plain", env=env) as web, panels(chromium, web) as page:
            page.enter("cpu")
            rbkit.wait_for_subscribers()
            page.press("Start sampling")
            now = time.time() * 1000
            frames = [{12: name, 13: name, 6: f"/{LONG}.rb", 7: 1, 14: 0, 15: 1} for name in names]
            request = {12: None, 13: "GET /" + LONG, 6: "", 7: 0, 14: 0, 15: 1}
            rbkit.publish(pack({0: 7, 1: now, 9: 0, 2: [{0: 9, 1: now, 2: [*frames, request]}] * 50}))
            graph = page.find(".flame-scroll")
            for _ in range(5):
                graph.send_keys(Keys.ARROW_DOWN)
            page.wait(lambda: "total" in page.text(".flame-chosen"), "the chosen function")
            canvas = page.value(
                "(({left, top, bottom}) => ({left, top, bottom}))"
                "(document.querySelector('.flame-canvas').getBoundingClientRect())"
            )
            for row in (1, 3):
                chromium.execute_cdp_cmd(
                    "Input.dispatchMouseEvent",
                    {"type": "mouseMoved", "x": canvas["left"] + 300, "y": canvas["top"] + row * 19 + 9},
                )
                page.wait(lambda: page.text(".tooltip"), "the words on a bar")
                assert page.value(
                    "(box => box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight)"
                    "(document.querySelector('.tooltip').getBoundingClientRect())"
                )
            holds(page, "flame")
            assert max(len(option.text) for option in page.all("option")) <= 100
            page.choose("Save as a file", "Collapsed stacks")
            saved = page.wait(lambda: list(downloads.glob("*.txt")), "the file")
            assert saved[0].name.startswith("rbkit-cpu-Long.xxx")
            assert saved[0].name.endswith(".collapsed.txt")
            page.press("Table")
            page.wait(lambda: page.all(".functions td"), "the table")
            holds(page, "functions")

            page.go("snapshots")
            page.click("Take a snapshot")
            page.wait(lambda: page.seen("aside button", "Look at it"), "the snapshot", timeout=60)
            holds(page, "classes")
            page.click("Long.", "main .table .link")
            page.wait(lambda: page.all(".trail li + li"), "the class")
            holds(page, "class")
            page.click("0x10", "main .table .link")
            page.wait_for("What keeps it alive")
            holds(page, "object")
            assert page.value("document.querySelector('.trail').getBoundingClientRect().height") < 80

            page.go("memory")
            page.click("Start watching", "main .empty button")
            events = [{0: 0, 1: now, 2: {3: 16 * at, 4: name}} for at, name in enumerate(names, 1)]
            events.append({0: 6, 1: now, 2: {LONG: 3}})
            rbkit.wait_for_command(b"start_memory_profile")
            rbkit.publish(pack({0: 7, 1: now, 9: 0, 2: events}))
            page.wait(lambda: len(page.rows("Live objects by class")) >= 3, "the classes")
            holds(page, "memory")
            for panel in ("process", "greenlets", ""):
                page.go(panel)
                page.wait(lambda: page.text("h1"), "the panel")
                holds(page, panel or "overview")
