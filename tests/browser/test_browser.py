"""Pages in a real browser: one of the Ruby middleware's age, and one that logs in and uses binary frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.support.wait import WebDriverWait
from support.dashboardpage import DashboardPage, forget_cookies
from support.servers import SERVERS, TOKEN, WebServer
from support.standin import RECORDINGS, StandIn
from support.waiting import scaled

pytestmark = pytest.mark.browser


def wait(chromium: Chrome, condition: Callable[[], Any]) -> Any:
    return WebDriverWait(chromium, scaled(20), poll_frequency=0.05).until(lambda _: condition())


def value(chromium: Chrome, expression: str) -> Any:
    return chromium.execute_script(f"return {expression};")


def open_old_client(chromium: Chrome, web: WebServer) -> None:
    chromium.get(web.url("/old-client", scheme="http"))
    assert wait(chromium, lambda: value(chromium, "window.connected || window.ended")) == "rbkit"


def console(chromium: Chrome) -> list[str]:
    return [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.parametrize("server", ["gunicorn-gevent", "pywsgi-websockethandler"])
def test_an_old_browser_client_reads_a_ruby_servers_messages(chromium: Chrome, server: str) -> None:
    with StandIn() as rbkit:
        env = {
            "RBKIT_PUB_ENDPOINT": rbkit.pub_endpoint,
            "RBKIT_REQ_ENDPOINT": rbkit.req_endpoint,
            "RBKIT_FRAMES": "text",
            "RBKIT_TOKEN": "false",
        }
        with SERVERS[server]("plain", env=env) as web:
            open_old_client(chromium, web)
            chromium.execute_script("command('handshake'); command('start_memory_profile'); command('standin replay')")
            wait(chromium, lambda: value(chromium, "answers.length") == 3)
            assert value(chromium, "answers[0][2]['rbkit_protocol_version']") == "2.1"
            assert value(chromium, "answers.slice(1)") == ["ok", "ok"]
            wait(chromium, lambda: value(chromium, "events.length + failures.length") == len(RECORDINGS))
            assert set(value(chromium, "events.map(event => event[0])")) == {0, 1, 2, 5, 6}
            assert value(chromium, "events.find(event => event[0] === 0)[2][4]") == "Array"
            # The server that published this one packed it with a newer MessagePack, which is not the bridge's to mend.
            assert b"\xd9" in RECORDINGS["cpu_sample"]
            assert value(chromium, "failures") == ["Error: unknown type 0xd9 at 60"]
            chromium.execute_script("socket.close()")
            assert wait(chromium, lambda: value(chromium, "ended"))["code"] == 1005
            assert console(chromium) == []
            chromium.get("about:blank")


def test_an_old_browser_client_watches_a_python_process(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("plain", env={"RBKIT_FRAMES": "text", "RBKIT_TOKEN": "false"}) as web:
        open_old_client(chromium, web)
        chromium.execute_script(
            "command('handshake'); command('use_wall_time'); command('start_cpu_profiling');"
            "command('start_memory_profile'); command('objectspace_snapshot')"
        )
        wait(chromium, lambda: value(chromium, "answers.length") == 5)
        assert value(chromium, "answers[0][2].language") == "python"
        total = wait(chromium, lambda: value(chromium, "(events.find(event => event[0] === 5) || {})[11]"))
        ids = "new Set(events.filter(event => event[0] === 5).flatMap(event => event[2].map(object => object[3]))).size"
        wait(chromium, lambda: value(chromium, ids) == total)
        wait(chromium, lambda: value(chromium, "events.some(event => event[0] === 9)"))
        assert wait(chromium, lambda: value(chromium, "(events.find(event => event[0] === 6) || {})[2]"))["rss"] > 0
        assert value(chromium, "failures") == []
        chromium.get("about:blank")


@pytest.mark.usefixtures("bundle")
def test_an_old_page_is_let_in_by_the_cookie_that_the_dashboard_leaves(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("plain", env={"RBKIT_FRAMES": "text"}) as web:
        chromium.get(web.url("/old-client", scheme="http"))
        assert wait(chromium, lambda: value(chromium, "window.ended"))["code"] == 1006, "as it is by default"
        page = DashboardPage(chromium, web.url("/__rbkit__/", scheme="http")).open(TOKEN)
        page.wait_for_state("Live")  # in spite of the default that the old page needs
        open_old_client(chromium, web)
        chromium.execute_script("command('handshake')")
        wait(chromium, lambda: value(chromium, "answers.length") == 1)
        assert value(chromium, "answers[0][2].language") == "python"
        assert value(chromium, "failures") == []
        chromium.get("about:blank")
        forget_cookies(chromium)


@pytest.mark.parametrize("allowed", [True, False])
def test_an_old_page_is_let_in_by_authorize_alone(chromium: Chrome, allowed: bool) -> None:
    env = {"RBKIT_FRAMES": "text", "RBKIT_TOKEN": None, "TEST_AUTHORIZE": "/" if allowed else "/elsewhere"}
    with SERVERS["gunicorn-gevent"]("plain", env=env) as web:
        chromium.get(web.url("/old-client", scheme="http"))
        found = wait(chromium, lambda: value(chromium, "window.connected || window.ended"))
        assert found == "rbkit" if allowed else found["code"] == 1006
        chromium.get("about:blank")


def test_a_page_logs_in_and_uses_binary_frames(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("plain") as web:
        chromium.get(web.url("/old-client", scheme="http"))
        refused = wait(chromium, lambda: value(chromium, "window.ended"))
        assert refused["code"] == 1006, "without token and cookie the upgrade is refused in plain HTTP"
        status = chromium.execute_async_script(
            "const done = arguments[1];"
            "fetch('/__rbkit__/login', {method: 'POST', body: new URLSearchParams({token: arguments[0]})})"
            ".then(response => done(response.status))",
            TOKEN,
        )
        assert status == 200
        assert value(chromium, "document.cookie") == "", "the cookie is none of the page's business"
        first = chromium.execute_async_script(
            "const done = arguments[0];"
            "const socket = new WebSocket('ws://' + location.host + '/any/path', ['rbkit']);"
            "socket.binaryType = 'arraybuffer';"
            "socket.onopen = () => socket.send('handshake');"
            "socket.onmessage = ({data}) => { socket.close(); done(Array.from(new Uint8Array(data).slice(0, 2))); };"
            "socket.onclose = ({code}) => done(code);"
        )
        assert first[0] == ord("0")
        assert first[1] & 0xF0 == 0x80, "a MessagePack map"
        chromium.get("about:blank")


OPEN = """
const done = arguments[1];
const socket = new WebSocket(arguments[0], ["rbkit"]);
socket.onopen = () => socket.send("handshake");
socket.onmessage = ({data}) => { socket.close(); done(unescape(data).slice(0, 1)); };
socket.onclose = ({code}) => done(code);
"""


@pytest.mark.parametrize(
    ("env", "code"),
    [
        pytest.param({"RBKIT_TOKEN": None, "TEST_AUTHORIZE": "/"}, "0", id="authorize"),
        pytest.param({"RBKIT_TOKEN": "false"}, "0", id="no token"),
        pytest.param({}, 1006, id="cookie"),  # it is there, and not sent from another site
    ],
)
@pytest.mark.usefixtures("bundle")
def test_a_page_of_an_allowed_origin_is_let_in_without_a_token(
    chromium: Chrome, tmp_path: Path, env: dict[str, str | None], code: str | int
) -> None:
    file = tmp_path / "page.html"
    file.write_text("<p>Its origin is null.")
    with SERVERS["gunicorn-gevent"]("plain", env={"TEST_BARE": "1"}) as tools:
        origin = f"http://localhost:{tools.port}"
        env = {"RBKIT_FRAMES": "text", "RBKIT_ALLOWED_ORIGINS": f"{origin},null", **env}
        with SERVERS["gunicorn-gevent"]("plain", env=env) as web:
            if code == 1006:
                DashboardPage(chromium, web.url("/__rbkit__/", scheme="http")).open(TOKEN).wait_for_state("Live")
            for page, expected in (
                (f"{origin}/old-client", code),
                (file.as_uri(), code),
                (f"http://127.0.0.1:{tools.port}/old-client", 1006),
            ):
                chromium.get(page)
                assert chromium.execute_async_script(OPEN, web.url("/")) == expected, page
            chromium.get("about:blank")
            forget_cookies(chromium)


def test_a_page_of_another_origin_is_refused(chromium: Chrome) -> None:
    with SERVERS["gunicorn-gevent"]("plain", env={"RBKIT_TOKEN": "false"}) as web:
        # The same server under another name is another origin.
        chromium.get(f"http://localhost:{web.port}/old-client")
        code = chromium.execute_async_script(
            "const done = arguments[1];"
            "const socket = new WebSocket(arguments[0], ['rbkit']);"
            "socket.onopen = () => done('open'); socket.onclose = ({code}) => done(code);",
            web.url("/"),
        )
        assert code == 1006
        chromium.get("about:blank")
