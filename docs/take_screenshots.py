"""Takes the pictures of the dashboard in these pages from the demo, in headless Chromium.

``python docs/take_screenshots.py``: needs the extras ``demo`` and ``test``, Chromium and its driver. The figures are
whatever the demo's processes did just then.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

HERE = Path(__file__).parent
SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
)
SAMPLES = 20_000
"""Enough for a graph that looks like the demo's always does."""


def main() -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "rbkit_websocket", "demo"],
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",  # the page shows it: in no directory of anybody's
    )
    assert demo.stdout is not None
    try:
        address = next(line.split()[1] for line in demo.stdout if line.startswith("dashboard"))
        # What else it prints is not looked at, but has to be taken off it.
        threading.Thread(target=demo.stdout.read, daemon=True).start()
        options = webdriver.ChromeOptions()
        for switch in SWITCHES:
            options.add_argument(switch)
        with webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))) as chromium:
            _take(chromium, address)
    finally:
        demo.terminate()
        demo.wait()


def _take(chromium: webdriver.Chrome, address: str) -> None:
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}
    )
    chromium.get(address)
    wait = WebDriverWait(chromium, 120)
    wait.until(lambda _: chromium.find_elements(By.CSS_SELECTOR, ".pill.good"))
    page = chromium.current_url
    chromium.get(f"{page}#/cpu")
    for button in chromium.find_elements(By.TAG_NAME, "button"):
        if button.text == "Start sampling":
            button.click()
            break
    count = "parseInt((document.querySelector('.box header .soft')?.innerText ?? '0').replaceAll(',', ''))"
    wait.until(lambda _: chromium.execute_script(f"return {count}") >= SAMPLES)
    chromium.save_screenshot(str(HERE / "dashboard-cpu.png"))
    chromium.execute_script("location.hash = '#/'")
    wait.until(lambda _: chromium.find_elements(By.CSS_SELECTOR, ".cards canvas"))
    wait.until(lambda _: chromium.find_elements(By.CSS_SELECTOR, ".bars li"))
    chromium.save_screenshot(str(HERE / "dashboard.png"))


if __name__ == "__main__":
    main()
