"""What is not ours reaches the application untouched: byte for byte, WebSockets of its own included."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from support.rawclient import RawClient, upgrade_request
from support.servers import SERVERS, WITH_WEBSOCKETS, WebServer
from websockets.sync.client import connect

from .conftest import Fleet, Site, in_use, target

BODY = b"name=value&x=" + bytes(range(256))

REQUESTS = {
    "GET": b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD": b"HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n",
    "404": b"GET /nowhere?token=abc HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST": b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "write and return": b"GET /written HTTP/1.1\r\nHost: x\r\n\r\n",
    "h2c": b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "the subprotocol without an upgrade": b"GET /hello HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Protocol: rbkit\r\n\r\n",
    "a page like ours": b"GET /__rbkit__other HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/1.0": b"GET /hello HTTP/1.0\r\n\r\n",
    "other subprotocol": upgrade_request("/hello", protocols="chat"),
    "no subprotocol": upgrade_request("/hello", protocols=None),
}
"""The last two only make sense where the server gives the application no WebSockets."""


@pytest.fixture(scope="module", params=SERVERS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[str, WebServer, WebServer]]:
    """The same application with and without the middleware."""
    launch = SERVERS[request.param]
    with launch("plain") as wrapped, launch("plain", env={"TEST_BARE": "1"}) as bare:
        yield request.param, wrapped, bare
        bare.terminate()
        wrapped.terminate()


def response_bytes(server: WebServer, request: bytes) -> bytes:
    """All bytes of the answer, and of a second one on the same connection; what differs by nature is masked."""
    with RawClient(server.port) as client:
        client.send(request)
        client.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = client.read_to_end()
    data = re.sub(rb"Date: [^\r]*", b"Date: now", data)
    data = re.sub(rb"hello from \d+", b"hello from PID", data)
    return re.sub(rb"Content-Length: 1\d\r", b"Content-Length: N\r", data)


@pytest.mark.parametrize("name", REQUESTS)
def test_responses_are_byte_for_byte_the_applications(pair: tuple[str, WebServer, WebServer], name: str) -> None:
    server, wrapped, bare = pair
    if server in WITH_WEBSOCKETS and "subprotocol" in name and "without" not in name:
        pytest.skip("the server upgrades these, see below")
    expected = response_bytes(bare, REQUESTS[name])
    assert response_bytes(wrapped, REQUESTS[name]) == expected
    assert expected.startswith(b"HTTP/1.")


# The application's own WebSockets


@pytest.fixture(scope="session", params=WITH_WEBSOCKETS)
def own_server_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session", params=["flask", "django", "plain"])
def own_site(request: pytest.FixtureRequest, own_server_name: str, fleet: Fleet) -> Site:
    return fleet.site(own_server_name, request.param)


@pytest.fixture
def own(own_site: Site) -> Iterator[Site]:
    """A server that gives the application WebSockets."""
    with in_use(own_site):
        yield own_site


@pytest.mark.parametrize("subprotocols", [None, ["chat"], ["chat", "rbkit2"]], ids=str)
def test_websockets_of_the_applications_own_pass(own: Site, subprotocols: list[str] | None) -> None:
    with connect(
        own.web.url("/ws"), subprotocols=subprotocols, compression=None, ping_interval=None, proxy=None
    ) as websocket:
        for text in ("hello", "x" * 100_000):
            websocket.send(text)
            assert websocket.recv(timeout=10) == text
    assert own.rbkit.commands == []


def test_both_kinds_of_websockets_live_side_by_side(own: Site) -> None:
    with (
        connect(own.web.url("/ws"), compression=None, ping_interval=None, proxy=None) as theirs,
        own.connect("/ws") as ours,
    ):
        for _ in range(3):
            theirs.send("theirs")
            assert ours.command("ping") == b"ok"
            assert theirs.recv(timeout=10) == "theirs"


def test_the_very_first_request_may_be_either(own_server_name: str) -> None:
    with SERVERS[own_server_name]("plain") as web, RawClient(web.port) as client:
        assert client.request(upgrade_request("/?token=wrong")).status == 401
    with (
        SERVERS[own_server_name]("plain") as web,
        connect(web.url("/ws"), compression=None, ping_interval=None, proxy=None) as websocket,
    ):
        websocket.send("first")
        assert websocket.recv(timeout=10) == "first"


@pytest.fixture(scope="session")
def resource_site(own_server_name: str, fleet: Fleet) -> Site:
    return fleet.site(own_server_name, "resource")


def test_the_applications_own_subprotocol_is_agreed_on(resource_site: Site) -> None:
    """gevent-websocket asks the application object for ``app_protocol``, so the wrapper has to pass it on."""
    with in_use(resource_site) as site:
        with connect(
            site.web.url("/ws"), subprotocols=["chat"], compression=None, ping_interval=None, proxy=None
        ) as websocket:
            assert websocket.subprotocol == "chat"
            websocket.send("hello")
            assert websocket.recv(timeout=10) == "hello"
        with site.connect("/ws") as ours:
            assert ours.command("ping") == b"ok"


@pytest.mark.parametrize("value", ["0", "off"])
def test_disabled_it_passes_everything(value: str) -> None:
    with SERVERS["gunicorn-gevent"]("plain", env={"RBKIT_ENABLED": value}) as web:
        with RawClient(web.port) as client:
            response = client.request(upgrade_request(target("/hello")))
            assert (response.status, response.body[:5]) == (200, b"hello")
        with RawClient(web.port) as client:
            assert client.request(b"GET /__rbkit__/servers HTTP/1.1\r\nHost: x\r\n\r\n").status == 404
        assert [path.name for path in web.runtime_dir.iterdir()] == ["log"], "no token, no server"


def test_disabled_the_handler_of_gevent_websocket_is_left_alone() -> None:
    with SERVERS["pywsgi-websockethandler"]("plain", env={"RBKIT_ENABLED": "0"}) as web:
        with connect(web.url("/ws"), compression=None, proxy=None, ping_interval=None) as websocket:
            websocket.send("x")
            assert websocket.recv(timeout=10) == "x"
        with RawClient(web.port) as client:
            response = client.request(upgrade_request(target("/ws")))
            assert response.status == 101
            assert "sec-websocket-protocol" not in response.headers
