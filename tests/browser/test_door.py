"""The way into the dashboard: what stands behind # in its address, and cookies that a browser does not keep."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from selenium.webdriver import Chrome
from support.dashboardpage import DashboardPage
from support.servers import SERVERS, TOKEN

from .conftest import browser_with
from .test_dashboard import dashboard

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.usefixtures("bundle")]

AWKWARD = "a&b+c%41#d=e/f?g"
"""Every character that means something in an address."""


@pytest.mark.parametrize("fragment", [AWKWARD, quote(AWKWARD, safe="")], ids=["as it is", "as it is printed"])
def test_a_token_is_read_whole_whatever_is_in_it(chromium: Chrome, fragment: str) -> None:
    env = {"RBKIT_TOKEN": AWKWARD}
    with SERVERS["gunicorn-gevent"]("flask", env=env) as web, dashboard(chromium, web, token=fragment) as page:
        page.wait_for_state("Live")
        assert page.value("location.hash") == ""


def test_what_may_be_a_secret_does_not_stay_in_the_address_bar(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("flask") as web, dashboard(chromium, web, token=None) as page:
        page.wait(lambda: "There was no token" in page.text("[role=alert]"), "why the door is shut")
        for fragment in (f"tok={TOKEN}", TOKEN, f"/cpu?token={TOKEN}", f"Token={TOKEN}"):
            chromium.get("about:blank")
            chromium.get(page.address + "#" + fragment)
            page.wait(
                lambda: "no token=…, so it was not used" in page.text("[role=alert]"), "that it was something else"
            )
            assert TOKEN not in page.value("location.href + JSON.stringify(history.state)")
        # The right address in the same tab's bar loads nothing anew.
        chromium.execute_script("location.hash = arguments[0]", f"token={TOKEN}")
        page.wait_for_state("Live")
        assert TOKEN not in page.value("location.href")
        chromium.execute_script("location.hash = arguments[0]", f"tok={TOKEN}")
        page.wait(lambda: TOKEN not in page.value("location.href"), "the address to be cleared")
        page.show("process", "Process")
        assert page.value("location.hash") == "#/process"


def test_a_page_that_is_opened_anew_has_no_cookie_of_the_last_one(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("flask") as web, dashboard(chromium, web) as page:
        page.wait_for_state("Live")
        page.open()
        page.wait(lambda: "There was no token" in page.text("[role=alert]"), "the door")


def test_where_cookies_are_blocked_the_page_says_so(bundle: None) -> None:
    blocked = {"profile.default_content_setting_values.cookies": 2}
    with browser_with(**blocked) as chromium, SERVERS["gunicorn-gevent"]("flask") as web:
        page = DashboardPage(chromium, web.url("/__rbkit__/", scheme="http")).open(TOKEN)
        page.wait(lambda: "has not kept the cookie" in page.text("[role=alert]"), "the reason")
        assert "The token is right" in page.text("[role=alert]")
        page.screenshot("cookies-blocked")
        field = page.find("input[aria-label=Token]")
        field.send_keys("wrong")
        page.press("Open")
        page.wait(lambda: "not the right one" in page.text("[role=alert]"), "a wrong token")
        field.clear()
        field.send_keys(TOKEN)
        page.press("Open")
        page.wait(lambda: "has not kept the cookie" in page.text("[role=alert]"), "the reason again")
