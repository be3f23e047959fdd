"""What stands between a client and a server: builds each way once, with the server and the stand-in at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.proxies import Nginx, require_nginx
from support.rawclient import RawClient, RbkitConnection, connect_rbkit
from support.servers import SERVERS, TOKEN, WebServer
from support.standin import StandIn
from support.transports import Authority, TlsClient, UnixClient, unix_socket

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
