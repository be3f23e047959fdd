"""A real headless Chromium; without one these tests skip, except in CI, where it has to be there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # there is none for root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    # It would look for hosts of its maker's at every start.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def browser_with(**preferences: Any) -> Iterator[webdriver.Chrome]:
    """A browser of its own with these preferences."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        missing = "Chromium" if browser is None else "chromedriver"
        if os.environ.get("CI"):
            pytest.fail(f"{missing} is missing, and CI must not skip the browser tests")
        pytest.skip(f"{missing} is not installed (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for switch in SWITCHES:
        options.add_argument(switch)
    options.add_experimental_option("prefs", preferences)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as session:
        yield session


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser for the whole run."""
    with browser_with() as session:
        yield session


@pytest.fixture
def downloads(chromium: webdriver.Chrome, tmp_path: Path) -> Path:
    """Where the browser puts what it saves."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    return folder


@pytest.fixture(scope="session")
def bundle() -> None:
    """The built dashboard; without it these tests skip, except in CI."""
    from rbkit_websocket.http.dashboard import bundle

    if not (bundle.FOLDER / "index.html").exists():
        if os.environ.get("CI"):
            pytest.fail("the dashboard is not built, and CI must not skip its tests")
        pytest.skip("the dashboard is not built (npm ci && npm run build in frontend/)")
