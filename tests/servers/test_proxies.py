"""What applications behind nginx depend on: prefixes, cookies, time-outs, and what is said when a line is missing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from support.proxies import Nginx, require_nginx
from support.rawclient import PING, RawClient, connect_rbkit, upgrade_request
from support.servers import SERVERS, TOKEN, WebServer
from support.transports import Authority
from support.waiting import scaled

from rbkit_websocket import ConnectionRefused, connect

BEHIND_PROXY = "support.frameworks:behind_proxy()"
SCRIPT_NAME = "proxy_set_header SCRIPT_NAME /shop;"
HTTP_VERSION = "proxy_http_version 1.1;"
CONNECTION = "proxy_set_header Connection $connection_upgrade;"
UPGRADE = "proxy_set_header Upgrade $http_upgrade;"
HOST = "proxy_set_header Host $http_host;"


@pytest.fixture(autouse=True)
def _nginx_is_there() -> None:
    require_nginx()  # before a server is started in vain


def gunicorn(app: str = "flask", **rest: Any) -> WebServer:
    return SERVERS["gunicorn-gevent"](app, **rest)


def login(url: str, **options: Any) -> HTTPResponse:
    """The answer to a login below ``url``, as a browser's page would ask for it."""
    return urlopen(Request(f"{url}__rbkit__/login", data=f"token={TOKEN}".encode()), timeout=scaled(10), **options)


@contextmanager
def below_shop(how: str) -> Iterator[Nginx]:
    """nginx with the application below /shop/, in each way that the documentation shows."""
    app = BEHIND_PROXY if how == "stripped" else "flask"
    env = {"SCRIPT_NAME": "/shop"} if how == "kept, with the environment's SCRIPT_NAME" else {}
    with gunicorn(app, env=env) as web:
        if how == "kept":
            nginx = Nginx("prefix-kept", web.port)
        elif how.startswith("kept"):
            nginx = Nginx("prefix-kept", web.port, changed={SCRIPT_NAME: ""})
        else:
            nginx = Nginx("prefix-stripped", web.port)
        with nginx:
            yield nginx


@pytest.mark.parametrize(
    ("how", "path"),
    [
        ("kept", "/shop"),
        ("kept, with the environment's SCRIPT_NAME", "/shop"),
        ("stripped", "/shop"),
        ("stripped, and the application not told", "/"),
    ],
)
def test_pages_cookie_and_sessions_below_a_prefix(how: str, path: str) -> None:
    with below_shop(how) as nginx:
        origin = f"http://127.0.0.1:{nginx.port}"
        with login(f"{origin}/shop/") as response:
            cookie, *attributes = response.headers["Set-Cookie"].split("; ")
        assert attributes == [f"Path={path}", "HttpOnly", "SameSite=Strict"]
        with urlopen(Request(f"{origin}/shop/__rbkit__/servers", headers={"Cookie": cookie})) as response:
            (server,) = json.load(response)["servers"]
        with connect_rbkit(
            f"ws://127.0.0.1:{nginx.port}/shop/hello?server={server['id']}",
            additional_headers={"Cookie": cookie},
            origin=origin,
        ) as session:
            assert session.command("trigger_gc") == b"ok"
        with connect(f"{origin}/shop/", token=TOKEN, server=server["id"]) as client:
            assert client.handshake()["pid"] == server["pid"]


def test_the_cookie_is_secure_where_nginx_ends_tls(tmp_path: Path) -> None:
    authority, socket = Authority(tmp_path, "127.0.0.1"), tmp_path / "web"
    with (
        gunicorn(options=["--bind", f"unix:{socket}"]),
        Nginx("tls", socket, authority=authority) as nginx,
        login(f"https://127.0.0.1:{nginx.port}/", context=authority.client_context()) as response,
    ):
        assert response.headers["Set-Cookie"].endswith("; Secure")


@pytest.mark.parametrize(("ping_interval", "stays"), [("0.5", True), ("60", False)])
def test_pings_keep_a_quiet_session_alive(ping_interval: str, stays: bool) -> None:
    with (
        gunicorn(env={"RBKIT_PING_INTERVAL": ping_interval}) as web,
        Nginx("plain", web.port, changed={HTTP_VERSION: f"{HTTP_VERSION} proxy_read_timeout 2s;"}) as nginx,
        RawClient(nginx.port) as client,
    ):
        web.get("/hello")  # nginx does not wait longer for a worker that still loads its application
        # Before nginx can have begun to wait.
        begin = time.monotonic()
        client.upgrade(f"/?token={TOKEN}")
        try:
            while time.monotonic() < begin + 4:
                frame = client.frame()
                assert frame.opcode == PING
                client.send_frame(0xA, frame.payload)
        except EOFError:
            assert not stays
            assert time.monotonic() > begin + 1.9
        else:
            assert stays
            assert b"2.1" in client.command("handshake")


@pytest.mark.parametrize(
    ("missing", "status", "words"),
    [
        ({HTTP_VERSION: "proxy_http_version 1.0;"}, 400, "behind nginx set proxy_http_version 1.1"),
        ({CONNECTION: ""}, 400, "Connection: Upgrade is missing; a proxy in between has to pass it on"),
        ({UPGRADE: ""}, 200, "does every proxy in between pass the headers Upgrade and Connection on"),
        ({HOST: "proxy_set_header Host $host;"}, 403, "Behind a proxy, see that it passes the Host header on"),
    ],
    ids=["HTTP/1.0", "no Connection", "no Upgrade", "Host without port"],
)
def test_what_nginx_leaves_out_is_named(missing: dict[str, str], status: int, words: str) -> None:
    with gunicorn() as web, Nginx("plain", web.port, changed=missing) as nginx:
        if status == 403:
            with RawClient(nginx.port) as raw:
                page = {"Host": f"127.0.0.1:{nginx.port}", "Origin": f"http://127.0.0.1:{nginx.port}"}
                response = raw.request(upgrade_request(f"/?token={TOKEN}", **page))
            assert (response.status, words in response.body.decode()) == (403, True)
        else:
            with pytest.raises(ConnectionRefused, match=words) as refused:
                connect(f"ws://127.0.0.1:{nginx.port}/hello", token=TOKEN)
            assert refused.value.status == status
