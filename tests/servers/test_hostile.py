"""Clients that flood, and applications that fork."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from support.rawclient import PONG, TEXT, RawClient, encode
from support.servers import SERVERS, alive
from support.waiting import scaled, wait_until

from .conftest import Fleet, Site, in_use, target


@pytest.fixture(scope="module", params=["gunicorn-gevent", "pywsgi"])
def flooded_site(request: pytest.FixtureRequest, fleet: Fleet) -> Site:
    """One server that reads from the socket and one that reads through a buffer."""
    return fleet.site(request.param)


@pytest.mark.parametrize("frame", [encode(PONG), encode(TEXT, b"ping")], ids=["pongs", "commands"])
def test_a_client_that_floods_keeps_nobody_else_waiting(flooded_site: Site, frame: bytes) -> None:
    with in_use(flooded_site) as site, RawClient(site.web.port) as client:
        client.upgrade(target())
        stop = threading.Event()

        def flood() -> None:
            with suppress(OSError):
                while not stop.is_set():
                    client.socket.sendall(frame * 10_000)

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            for _ in range(3):
                assert site.web.get("/hello").startswith(b"hello")
        finally:
            stop.set()
            client.socket.close()
            thread.join(scaled(10))


@pytest.mark.parametrize("server", ["gunicorn-gevent", "pywsgi"])
def test_a_fork_of_the_application_leaves_the_sessions_alone(server: str) -> None:
    with SERVERS[server]("plain") as web, RawClient(web.port) as client:
        client.upgrade(target())
        assert client.command("ping") == b"ok"
        child = int(web.get("/fork"))
        for _ in range(20):
            assert client.command("ping") == b"ok"
        wait_until(lambda: not alive(child), "the child to end")
        assert client.command("ping") == b"ok"
