"""The middleware in applications as people build them: five frameworks, other middlewares around and below, mounts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from support.embeddedpeer import unpack
from support.rawclient import RawClient, connect_rbkit, upgrade_request
from support.servers import SERVERS, TOKEN, WebServer
from support.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"

# The target for gunicorn, the environment, the route as the framework writes it.
FRAMEWORKS: dict[str, tuple[str, dict[str, str], str]] = {
    "flask": ("flask_app:create_app()", {}, "/users/<int:number>"),
    "django": ("django_app:application", {}, "/users/<int:number>"),
    "django with channels": ("django_app:application", {"CHANNELS": "1"}, "/users/<int:number>"),
    "pyramid": ("pyramid_app:application", {}, "/users/{number}"),
    "bottle": ("bottle_app:application", {}, "/users/<number:int>"),
    "falcon": ("falcon_app:application", {}, "/users/{number:int}"),
}

STATIC = "not for the application"


def assert_serves(web: WebServer, prefix: str, route: str) -> None:
    """The application answers as without us, and a session below ``prefix`` names its requests."""
    assert web.get(f"{prefix}/users/7") == b"user 7"
    with pytest.raises(HTTPError, match="404") as missing:
        web.get(f"{prefix}/nowhere")
    missing.value.close()
    with connect_rbkit(web.url(f"{prefix}/any/path"), token=TOKEN) as session:
        assert unpack(session.command("handshake"))[2]["pid"] in web.worker_pids()
        seen = threading.Event()

        def visit() -> None:
            while not seen.is_set():
                web.get(f"{prefix}/users/42")

        visitor = threading.Thread(target=visit)
        visitor.start()
        try:
            wait_until(lambda: f"GET {prefix}{route}" in requests(session.command("stacks")), "the request's name")
        finally:
            seen.set()
            visitor.join()
    with RawClient(web.port) as client:
        assert client.request(upgrade_request(f"{prefix}/users/7?token=wrong")).status == 401


def requests(answer: bytes) -> set[str]:
    """The names in an answer to ``stacks``."""
    return {greenlet["request"] for greenlet in unpack(answer)["greenlets"] if greenlet["request"]}


@pytest.mark.smoke
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_an_application_of_each_framework(name: str) -> None:
    target, env, route = FRAMEWORKS[name]
    with SERVERS["gunicorn-gevent"](target, env=env, options=["--chdir", str(EXAMPLES)]) as web:
        assert_serves(web, "", route)


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    directory = tmp_path_factory.mktemp("static")
    (directory / "page.txt").write_text(STATIC)
    env = {"TEST_STATIC": str(directory)}
    with SERVERS["gunicorn-gevent"]("support.frameworks:compositions()", env=env) as web:
        yield web


PREFIXES = ["/outermost", "/innermost", "/between", "/around"]


@pytest.mark.parametrize("prefix", [*PREFIXES, "/around/mounted"])
def test_other_middlewares_in_any_order(composed: WebServer, prefix: str) -> None:
    assert_serves(composed, prefix, "/users/<int:number>")
    # Where whitenoise looks for its files is relative to the mount.
    assert composed.get(f"{prefix}/static/page.txt") == STATIC.encode()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_pages_and_cookie_of_a_mounted_application(composed: WebServer, prefix: str) -> None:
    page = composed.url(f"{prefix}/__rbkit__/", scheme="http")
    with urlopen(Request(f"{page}login", data=f"token={TOKEN}".encode())) as response:
        cookie, path, *_ = response.headers["Set-Cookie"].split("; ")
    assert path == f"Path={prefix}"
    listed = json.loads(composed.get(f"{prefix}/__rbkit__/servers", headers={"Cookie": cookie}))
    (server,) = listed["servers"]
    url = composed.url(prefix, server=server["id"])
    with connect_rbkit(url, additional_headers={"Cookie": cookie}) as session:
        assert session.command("trigger_gc") == b"ok"


def test_what_is_not_below_a_mount_is_the_applications(composed: WebServer) -> None:
    assert composed.get("/users/7") == b"user 7"
    with RawClient(composed.port) as client:
        assert client.request(upgrade_request("/users/7?token=" + TOKEN)).status == 400  # werkzeug's, for a WebSocket
