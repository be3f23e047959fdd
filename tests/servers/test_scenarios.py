"""One list of scenarios for every web server whose sockets can be taken over: what must hold wherever it runs.

The deeper tests beside this file run on gevent's servers only, which share everything but the take-over with the rest.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from support.rawclient import BINARY, CLOSE, TEXT, RawClient, close_payload, encode, upgrade_request
from support.servers import ALL, TOKEN, WITH_WEBSOCKETS
from support.standin import RECORDINGS, counter_of
from support.waiting import wait_until
from websockets.sync.client import connect

from rbkit_websocket.protocol.messages import decode_answer

from .conftest import Fleet, Site, in_use, target

BACKLOG = 2_000_000
BODY = b"GET /leak?count=7 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="session", params=ALL)
def everywhere_name(request: pytest.FixtureRequest) -> str:
    """Each web server."""
    return request.param


@pytest.fixture(scope="session")
def everywhere_site(everywhere_name: str, fleet: Fleet) -> Site:
    return fleet.site(everywhere_name, RBKIT_BACKLOG=str(BACKLOG), RBKIT_PING_INTERVAL="60")


@pytest.fixture
def site(everywhere_site: Site) -> Iterator[Site]:
    """Flask under each server."""
    with in_use(everywhere_site):
        yield everywhere_site


def facts(site: Site) -> dict[str, Any]:
    return json.loads(site.web.get("/facts"))


def test_the_list_of_servers_tells_of_no_obstacle(site: Site) -> None:
    page = site.web.get("/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"})
    assert json.loads(page)["obstacle"] is None


def test_handshake_and_commands(site: Site) -> None:
    with site.connect() as client:
        handshake = decode_answer(client.command("handshake"))
        assert isinstance(handshake, dict)
        assert handshake["payload"]["rbkit_protocol_version"] == "2.1"
        for number in range(20):
            client.send(f"standin echo {number}")
        assert [client.answer() for _ in range(20)] == [b"%d" % number for number in range(20)]
    assert client.connection.close_code == 1000


def test_publications(site: Site) -> None:
    with site.connect() as client:
        client.command("ping")
        site.rbkit.replay()
        assert [client.publication() for _ in RECORDINGS] == list(RECORDINGS.values())
        first = site.rbkit.published
        site.rbkit.flood(500)
        assert [counter_of(client.publication()) for _ in range(500)] == list(range(first, first + 500))


def test_large_messages(site: Site) -> None:
    message = bytes(range(256)) * 20_000
    with site.connect() as client:
        assert len(client.command("standin answer 3000000")) == 3_000_000
        site.rbkit.publish(message, b"after")
        assert client.publication() == message
        assert client.publication() == b"after"


def test_a_slow_reader_costs_nobody_anything(site: Site) -> None:
    with site.raw(receive_buffer=4096) as slow, site.connect() as other:
        assert slow.command("ping") == b"ok"
        other.command("ping")
        first = site.rbkit.published
        # More than its backlog and all buffers on the way, those of a router in between included.
        site.rbkit.flood(150, 100_000, rate=400)
        assert [counter_of(other.publication()) for _ in range(150)] == list(range(first, first + 150))
        assert site.web.get("/hello")
        slow.send_text("standin echo at-the-end")
        got, lost, answered = [], 0, False
        while len(got) + lost < 150 or not answered:
            message = slow.message()
            if message.opcode == TEXT and message.payload.startswith(b"0dropped:"):
                lost = int(message.payload[9:])
            elif message.opcode == BINARY and message.payload == b"0at-the-end":
                answered = True
            elif message.payload[:1] == b"1":
                got.append(counter_of(message.payload[1:]))
        assert got == sorted(set(got)), "whole frames in order"
        assert len(got) + lost == 150


def test_clients_that_vanish_leave_nothing_behind(site: Site) -> None:
    for number in range(12):  # more than there are threads, or cores, anywhere
        with site.raw() as client:
            assert client.command("ping") == b"ok"
            if number % 2:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        site.settled()
    with site.connect() as client:
        assert client.command("ping") == b"ok"


def test_sessions_leave_neither_threads_nor_descriptors_behind(site: Site) -> None:
    def session() -> None:
        with site.connect() as client:
            client.command("ping")
        site.settled()

    for _ in range(10):  # every thread of a pool has had one then
        session()
    before = facts(site)
    for _ in range(10):
        session()
    # The one that looks is served while the connection before it is still being closed.
    more = {"descriptors": 2, "greenlets": 2, "native_threads": 1}

    def settled() -> bool:
        now = facts(site)
        return all(now[name] <= before[name] + few for name, few in more.items())

    wait_until(settled, f"no more than { {name: before[name] for name in more} }")


def test_websockets_of_the_applications_own_pass(site: Site, everywhere_name: str) -> None:
    if everywhere_name in WITH_WEBSOCKETS:
        with connect(site.web.url("/ws"), compression=None, ping_interval=None, proxy=None) as websocket:
            websocket.send("hello")
            assert websocket.recv(timeout=10) == "hello"
    else:
        with RawClient(site.web.port) as client:
            response = client.request(upgrade_request("/ws", protocols="chat"))
            assert (response.status, response.body) == (200, b"no WebSocket here")
    assert site.rbkit.commands == []


def test_a_frame_right_behind_the_request(site: Site, everywhere_name: str) -> None:
    with RawClient(site.web.port) as client:
        client.upgrade(target(), behind=encode(TEXT, b"standin echo first"))
        if "uwsgi" not in everywhere_name:  # which keeps it to itself, as its page says
            assert client.answer() == b"first"
        assert client.command("standin echo second")[-6:] in (b"second", b"first")
        client.send_frame(CLOSE, close_payload(1000))


def test_an_upgrade_may_follow_requests_on_the_same_connection(site: Site) -> None:
    with RawClient(site.web.port) as client:
        response = client.request(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        assert response.status == 200
        if response.headers.get("connection", "").lower() == "close" or response.head.startswith(b"HTTP/1.0"):
            return
        try:
            client.upgrade(target())
        except (EOFError, ConnectionError):
            return  # it does not keep connections, and does not say so
        assert client.command("ping") == b"ok"
        client.close()


def test_nothing_follows_the_close_frame_and_nothing_behind_it_is_served(site: Site) -> None:
    with site.raw() as client:
        assert client.command("ping") == b"ok"
        client.send(encode(CLOSE, close_payload(1000, "bye")) + BODY)
        closing = client.closing()
        assert (closing.close_code, closing.close_reason) == (1000, "bye")
        assert client.read_to_end() == b""
    assert site.web.get("/leak", count="0") == b"0"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(upgrade_request("/?token=wrong"), 401), (upgrade_request(target(), Sec_WebSocket_Version="8"), 426)],
    ids=["401", "426"],
)
def test_a_refusal_is_plain_http_and_the_end_of_the_connection(site: Site, request_bytes: bytes, status: int) -> None:
    with RawClient(site.web.port) as client:
        response = client.request(request_bytes + BODY)
        assert response.status == status
        assert response.body.startswith(b"rbkit: ")
        assert client.read_to_end() == b""
    assert site.web.get("/leak", count="0") == b"0"


def test_the_token_is_in_no_log(site: Site, everywhere_name: str) -> None:
    with site.raw("/logged") as client:
        client.command("ping")
        client.close()
    if "uwsgi" not in everywhere_name:  # whose log is written in C from what the client sent; its page says what to do
        assert site.web.get("/hello")
        assert TOKEN not in site.web.log()
