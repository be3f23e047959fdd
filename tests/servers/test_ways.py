"""The ways to a server besides plain TCP: TLS, Unix sockets, nginx, a URL prefix, the PROXY protocol."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.proxies import Nginx, require_nginx
from support.rawclient import CLOSE, PING, TEXT, RawClient, RbkitConnection, connect_rbkit, encode, upgrade_request
from support.servers import SERVERS, TOKEN, WITH_WEBSOCKETS, WebServer
from support.standin import RECORDINGS, StandIn, counter_of
from support.transports import Authority, TlsClient, UnixClient, unix_socket
from support.waiting import scaled, wait_until
from websockets.sync.client import connect

from .conftest import endpoints, target

PROXY_LINE = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n"

# In this order, since gunicorn 25 and later take a word behind the first and earlier ones do not.
PROXY_PROTOCOL = ["--proxy-protocol", "--proxy-allow-from", "127.0.0.1"]

# A client is given up after two of these.
PING_INTERVAL = 0.5


@dataclass(frozen=True)
class Way:
    """A web server and how a client gets to it.

    Attributes:
        url: of the application, from the client's side.
        dial: a connected client, with SO_RCVBUF if that is given.
        options: for a connection over the ``websockets`` package.
        client_address: what the application sees as the client's, if the way tells it.
    """

    web: WebServer
    rbkit: StandIn
    url: str
    dial: Callable[[int | None], RawClient]
    options: Callable[[], Mapping[str, Any]] = field(default=dict)
    client_address: str | None = None

    @property
    def path(self) -> str:
        """The application's URL path."""
        return "/" + self.url.split("/", 3)[3]

    def connect(self) -> AbstractContextManager[RbkitConnection]:
        """A session over the ``websockets`` package."""
        return connect_rbkit(self.url, token=TOKEN, **self.options())

    def raw(self, receive_buffer: int | None = None) -> RawClient:
        """A session over a raw connection."""
        client = self.dial(receive_buffer)
        client.upgrade(target(self.path))
        return client

    def get(self, path: str) -> bytes:
        """Body of a plain GET request."""
        with self.dial(None) as client:
            request = f"GET {self.path}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            return client.request(request.encode()).body


class Builder:
    """Starts what a way needs; everything ends with ``stack``."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._rbkit = stack.enter_context(StandIn())
        self._env = {**endpoints(self._rbkit), "RBKIT_PING_INTERVAL": str(PING_INTERVAL)}
        self._authority = Authority(directory, "127.0.0.1")

    def way(self, name: str) -> Way:
        kind, _, detail = name.partition(" ")
        if kind.startswith("nginx"):
            require_nginx()  # before a server is started in vain
        way: Way = getattr(self, kind)(detail)
        return way

    def tcp(self, server: str) -> Way:
        web = self._gunicorn(server)
        return self._plain(web, web.port)

    def tls(self, server: str) -> Way:
        certificate, key = str(self._authority.certificate), str(self._authority.key)
        if server.startswith("gunicorn"):
            web = self._gunicorn(server, options=["--certfile", certificate, "--keyfile", key])
        else:
            web = self._pywsgi(server, TEST_CERTFILE=certificate, TEST_KEYFILE=key)
        return self._over_tls(web, web.port)

    def unix(self, server: str) -> Way:
        path = self._directory / "web"
        if server.startswith("gunicorn"):
            web = self._gunicorn(server, options=["--bind", f"unix:{path}"])
        else:
            web = self._pywsgi(server, TEST_UNIX=str(path))
        return Way(web, self._rbkit, "ws://localhost/", lambda _: UnixClient(path), lambda: {"sock": unix_socket(path)})

    def nginx(self, server: str) -> Way:
        web = self._gunicorn(server) if server.startswith("gunicorn") else self._pywsgi(server)
        nginx = self._stack.enter_context(Nginx("plain", web.port))
        return self._plain(web, nginx.port)

    def nginx_tls_unix(self, server: str) -> Way:
        path = self._directory / "web"
        web = self._gunicorn(server, options=["--bind", f"unix:{path}"])
        nginx = self._stack.enter_context(Nginx("tls", path, authority=self._authority))
        return self._over_tls(web, nginx.port)

    def nginx_prefix_kept(self, server: str) -> Way:
        web = self._gunicorn(server)
        return self._plain(web, self._stack.enter_context(Nginx("prefix-kept", web.port)).port, "/shop/")

    def nginx_prefix_stripped(self, server: str) -> Way:
        web = self._gunicorn(server, "support.frameworks:behind_proxy()")
        nginx = self._stack.enter_context(Nginx("prefix-stripped", web.port))
        return self._plain(web, nginx.port, "/shop/", client_address="127.0.0.1")

    def nginx_proxy_protocol(self, server: str) -> Way:
        web = self._gunicorn(server, options=PROXY_PROTOCOL)
        nginx = self._stack.enter_context(Nginx("proxy-protocol", web.port))
        return self._plain(web, nginx.port, client_address="127.0.0.1")

    def proxy_protocol(self, server: str) -> Way:
        web = self._gunicorn(server, options=PROXY_PROTOCOL)

        def dial(receive_buffer: int | None) -> RawClient:
            client = RawClient(web.port, receive_buffer=receive_buffer)
            client.send(PROXY_LINE)
            return client

        def options() -> dict[str, Any]:
            client = dial(None)
            return {"sock": client.socket}

        return Way(web, self._rbkit, web.url(), dial, options, client_address="192.0.2.7")

    def _gunicorn(self, server: str, app: str = "flask", **rest: Any) -> WebServer:
        return self._stack.enter_context(SERVERS[server](app, env=self._env, **rest))

    def _pywsgi(self, server: str, **env: str) -> WebServer:
        handler = "websocket" if "websocket" in server else "plain"
        command = [sys.executable, "-m", "support.listeners", "flask", handler]
        return self._stack.enter_context(WebServer(command, env={**self._env, **env}))

    def _over_tls(self, web: WebServer, port: int) -> Way:
        context = self._authority.client_context()
        return Way(
            web,
            self._rbkit,
            f"wss://127.0.0.1:{port}/",
            lambda size: TlsClient(port, context, receive_buffer=size),
            lambda: {"ssl": context},
        )

    def _plain(self, web: WebServer, port: int, path: str = "/", **rest: Any) -> Way:
        url = f"ws://127.0.0.1:{port}{path}"
        return Way(web, self._rbkit, url, lambda size: RawClient(port, receive_buffer=size), **rest)


WAYS = [
    "tcp gunicorn-gevent",
    *(f"tls {server}" for server in SERVERS),
    *(f"unix {server}" for server in SERVERS),
    "nginx gunicorn-gevent",
    "nginx pywsgi",
    "nginx_tls_unix gunicorn-gevent",
    "nginx_prefix_kept gunicorn-gevent",
    "nginx_prefix_stripped gunicorn-gevent",
    "nginx_proxy_protocol gunicorn-gevent",
    "proxy_protocol gunicorn-gevent",
]

# Tests that take seconds are about code that is the same under each server.
UNHURRIED = [
    "tcp gunicorn-gevent",
    "tls gunicorn-gevent",
    "tls pywsgi",
    "unix gunicorn-gevent",
    "nginx gunicorn-gevent",
]


def only(names: list[str]) -> pytest.MarkDecorator:
    """Restricts a test to some of the ways."""
    return pytest.mark.parametrize("shared_way", names, indirect=True)


@pytest.fixture(scope="module", params=WAYS)
def shared_way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    with ExitStack() as stack:
        # A short path: those of Unix sockets have 107 bytes.
        way = Builder(stack, tmp_path_factory.mktemp("way")).way(request.param)
        yield way


@pytest.fixture
def way(shared_way: Way) -> Iterator[Way]:
    """A way without sessions, before and after."""
    shared_way.rbkit.commands.clear()
    yield shared_way
    shared_way.rbkit.wait_for_subscribers(0)
    assert "Traceback" not in shared_way.web.log()


def test_commands_publications_and_the_application(way: Way) -> None:
    with way.connect() as client:
        assert [client.command(command) for command in ("start_cpu_profiling", "ping")] == [b"ok"] * 2
        way.rbkit.replay()
        assert [client.publication() for _ in RECORDINGS] == list(RECORDINGS.values())
        assert b"hello from" in way.get("hello")
    assert way.rbkit.commands == [b"start_cpu_profiling", b"ping"]


@only([name for name in WAYS if "proxy_protocol" in name or "stripped" in name])
def test_the_application_knows_its_client(way: Way) -> None:
    assert repr(way.client_address) in way.get("facts").decode()


def test_large_messages_both_ways(way: Way) -> None:
    with way.connect() as client:
        text = "x" * 60_000
        assert client.command(f"standin echo {text}") == text.encode()
        assert len(client.command("standin answer 20000000")) == 20_000_000


def test_frames_pipelined_behind_the_request_are_not_lost(way: Way) -> None:
    with way.dial(None) as client:
        frames = encode(TEXT, b"standin echo first") + encode(TEXT, b"standin echo second")
        client.upgrade(target(way.path), behind=frames)
        assert [client.answer(), client.answer()] == [b"first", b"second"]


def test_the_closing_handshake_comes_through(way: Way) -> None:
    with way.raw() as client:
        assert client.command("ping") == b"ok"
        assert client.close(4711, "done").close_code == 4711
    with way.connect() as connection:
        connection.send("ping")


# What a proxy's buffers hold looks as if the client had it, and its pong is behind that.
@only([name for name in UNHURRIED if not name.startswith("nginx")])
def test_a_client_that_reads_slowly_but_steadily_stays(way: Way) -> None:
    """It needs several ping intervals for one message, and each look finds that it took something."""
    size, piece, pieces = 8_000_000, 10_000, 50
    with way.raw(receive_buffer=4096) as client:
        assert client.command("ping") == b"ok"
        client.send_text(f"standin answer {size}")
        taken = 0
        for _ in range(pieces):
            taken += len(client.socket.recv(piece))
            time.sleep(5 * PING_INTERVAL / pieces)  # nothing to wait for: being slow is the point
        client.read(size - taken)  # what is left is shorter than a frame's header
        client.send_text("standin echo alive")
        rest = client.read_until(b"0alive")
        assert len(rest) < 100


@only(UNHURRIED)
def test_a_client_that_takes_nothing_costs_the_others_nothing(way: Way) -> None:
    with way.raw(receive_buffer=4096) as stalled, way.connect() as other:
        assert stalled.command("ping") == b"ok"
        other.command("ping")
        first = way.rbkit.published
        way.rbkit.flood(200, 100_000)
        assert [counter_of(other.publication()) for _ in range(200)] == list(range(first, first + 200))
        stalled.read_to_end()
        assert other.command("ping") == b"ok"


def test_a_client_that_vanishes_is_noticed(way: Way) -> None:
    client = way.raw()
    with client:
        assert client.command("ping") == b"ok"
        assert way.rbkit.subscribers == 1
    way.rbkit.wait_for_subscribers(0)


def test_pings_cross(way: Way) -> None:
    with way.raw() as client:
        while client.frame().opcode != PING:
            pass


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"target": "?token=wrong"}, 401),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec_WebSocket_Version": "8"}, 426),
    ],
    ids=["401", "403", "426"],
)
def test_refusals_are_plain_http(way: Way, options: dict[str, str], status: int) -> None:
    options = dict(options)
    path = way.path + options.pop("target", "?token=" + TOKEN)
    with way.dial(None) as client:
        response = client.request(upgrade_request(path, **options))
        assert response.status == status
        assert response.body.startswith(b"rbkit: ")


@only([name for name in WAYS if name.split()[1] in WITH_WEBSOCKETS])
def test_websockets_of_the_applications_own_pass(way: Way) -> None:
    with (
        connect(f"{way.url}ws", compression=None, ping_interval=None, proxy=None, **way.options()) as theirs,
        way.connect() as ours,
    ):
        for text in ("theirs", "x" * 100_000):
            theirs.send(text)
            assert ours.command("ping") == b"ok"
            assert theirs.recv(timeout=scaled(10)) == text


ENDINGS = [
    "tls gunicorn-gevent",
    "tls pywsgi",
    "unix gunicorn-gevent",
    "unix pywsgi",
    "nginx gunicorn-gevent",
    "nginx_tls_unix gunicorn-gevent",
    "proxy_protocol gunicorn-gevent",
]


@pytest.mark.parametrize("name", ENDINGS)
def test_the_servers_end_is_told(name: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        way = Builder(stack, tmp_path).way(name)
        clients = [stack.enter_context(way.raw()) for _ in range(3)]
        for client in clients:
            assert client.command("ping") == b"ok"
        begin = time.monotonic()
        way.web.terminate()
        for client in clients:
            closing = client.closing()
            assert closing.close_code == 1001
            assert time.monotonic() - begin < scaled(1)
            client.send_frame(CLOSE, closing.payload)
            assert client.read_to_end() == b""
        # gunicorn looks once a second whether its connections are gone.
        way.web.wait(4)
        wait_until(lambda: way.rbkit.subscribers == 0, "the end of the subscription")


@pytest.mark.parametrize(
    ("tls", "env", "address"),
    [(True, {}, "wss://127.0.0.1:{}/?token="), (False, {"SCRIPT_NAME": "/shop"}, "ws://127.0.0.1:{}/shop/?token=")],
    ids=["TLS", "prefix"],
)
def test_the_address_that_is_printed(tls: bool, env: dict[str, str], address: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "127.0.0.1")
    options = ["--certfile", str(authority.certificate), "--keyfile", str(authority.key)] if tls else []
    with SERVERS["gunicorn-gevent"]("flask", env={"RBKIT_TOKEN": None, **env}, options=options) as web:
        context = authority.client_context()
        with TlsClient(web.port, context) if tls else RawClient(web.port) as client:
            path = f"{env.get('SCRIPT_NAME', '')}/hello"
            assert client.request(f"GET {path} HTTP/1.1\r\nHost: elsewhere\r\n\r\n".encode()).status == 200
        wait_until(lambda: address.format(web.port) in web.log(), "the address")
