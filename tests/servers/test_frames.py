"""RFC 6455 from the wire's side: what a client may send, what it may not, and how it ends."""

from __future__ import annotations

import json
import socket
import struct
import time

import pytest
from support.rawclient import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawClient,
    close_payload,
    encode,
    upgrade_request,
)
from support.waiting import scaled

from .conftest import Fleet, Site, in_use, target
from .test_opening import SMUGGLED, leaked

LIMIT = 64 * 1024


def test_the_longest_command_passes(site: Site) -> None:
    with site.raw() as client:
        client.send_frame(TEXT, b"x" * LIMIT)
        assert client.answer() == b"ok"
        assert client.command("ping") == b"ok"
    assert site.rbkit.commands == [b"x" * LIMIT, b"ping"]


TOO_MUCH = {
    "a byte too long": encode(TEXT, b"x" * (LIMIT + 1)),
    "claimed 300 MB": encode(TEXT, b"", length=300_000_000),
    "claimed 2**62": encode(BINARY, b"", length=2**62),
    "fragments": encode(TEXT, b"x" * LIMIT, fin=False) + encode(CONTINUATION, b"y"),
    "many fragments": encode(TEXT, b"", fin=False) + encode(CONTINUATION, b"", fin=False) * 300,
}


@pytest.mark.parametrize("data", TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_is_too_big_is_closed_with_1009(site: Site, data: bytes) -> None:
    with site.raw() as client:
        begin = time.monotonic()
        client.send(data)
        closing = client.closing()
        assert closing.close_code == 1009
        assert closing.close_reason
        assert time.monotonic() - begin < scaled(1)
    assert site.rbkit.commands == []


VIOLATIONS: dict[str, tuple[bytes, int]] = {
    "unmasked": (encode(TEXT, b"ping", masked=False), 1002),
    "unmasked ping": (encode(PING, b"", masked=False), 1002),
    "reserved bit 1": (encode(TEXT, b"ping", reserved=4), 1002),
    "reserved bit 3": (encode(PING, b"", reserved=1), 1002),
    "opcode 3": (encode(3, b"x"), 1002),
    "opcode 11": (encode(0xB, b"x"), 1002),
    "continuation of nothing": (encode(CONTINUATION, b"x"), 1002),
    "message within a message": (encode(TEXT, b"a", fin=False) + encode(TEXT, b"b"), 1002),
    "fragmented ping": (encode(PING, b"x", fin=False), 1002),
    "ping of 126 bytes": (encode(PING, b"x" * 126), 1002),
    "close of one byte": (encode(CLOSE, b"\x03"), 1002),
    "close 1005": (encode(CLOSE, close_payload(1005)), 1002),
    "close 1006": (encode(CLOSE, close_payload(1006)), 1002),
    "close 999": (encode(CLOSE, close_payload(999)), 1002),
    "close 5000": (encode(CLOSE, close_payload(5000)), 1002),
    "close reason not UTF-8": (encode(CLOSE, close_payload(1000) + b"\xff"), 1007),
    "text not UTF-8": (encode(TEXT, b"\xc3\x28"), 1007),
    "text cut in a character": (encode(TEXT, b"\xc3"), 1007),
    "surrogate": (encode(TEXT, b"\xed\xa0\x80"), 1007),
    "late fragment not UTF-8": (encode(TEXT, b"\xc3", fin=False) + encode(CONTINUATION, b"\x28"), 1007),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations_are_closed_with_their_code(site: Site, name: str) -> None:
    data, code = VIOLATIONS[name]
    with site.raw() as client:
        assert client.command("ping") == b"ok"
        client.send(data)
        assert client.closing().close_code == code
    assert site.rbkit.commands == [b"ping"]


def test_characters_may_be_cut_between_fragments(site: Site) -> None:
    text = "standin echo äöü€𝄞".encode()
    with site.raw() as client:
        frames = [encode(CONTINUATION if at else TEXT, text[at : at + 1], fin=False) for at in range(len(text))]
        client.send(b"".join(frames) + encode(CONTINUATION, b""))
        assert client.answer() == "äöü€𝄞".encode()


# Pings


@pytest.mark.parametrize("payload", [b"", b"x", b"\xff" * 125])
def test_pings_are_answered_with_their_payload(site: Site, payload: bytes) -> None:
    with site.raw() as client:
        client.send_frame(PING, payload)
        assert client.frame() == Frame(PONG, payload)
        client.send(encode(TEXT, b"pi", fin=False) + encode(PING, payload) + encode(CONTINUATION, b"ng"))
        assert client.frame() == Frame(PONG, payload)
        assert client.answer() == b"ok"
        client.send_frame(PONG, payload)
        assert client.command("ping") == b"ok"


def test_a_flood_of_pings_is_survived(site: Site) -> None:
    with site.raw() as client:
        client.send(encode(PING, b"x" * 100) * 20_000)
        assert client.command("standin echo alive") == b"alive"


# Closing


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999])
def test_close_codes_are_echoed(site: Site, code: int) -> None:
    with site.raw() as client:
        assert client.command("ping") == b"ok"
        assert client.close(code, "see you").close_code == code


def test_an_empty_close_frame_is_answered_with_one(site: Site) -> None:
    with site.raw() as client:
        client.send_frame(CLOSE)
        assert client.closing().payload == b""
        assert client.read_to_end() == b""


@pytest.mark.smoke
def test_closing_is_quick(site: Site) -> None:
    with site.raw() as client:
        client.command("ping")
        begin = time.monotonic()
        client.close(1000)
        assert time.monotonic() - begin < scaled(0.5), "the connection lingers"


def test_closing_right_behind_the_request(site: Site) -> None:
    with RawClient(site.web.port) as client:
        client.upgrade(target(), behind=encode(CLOSE, close_payload(1000)))
        assert client.closing().close_code == 1000
        assert client.read_to_end() == b""


@pytest.mark.parametrize("how", ["end", "half a frame", "reset", "shut for writing"])
def test_clients_that_vanish_leave_nothing(site: Site, how: str) -> None:
    with site.raw() as client:
        assert client.command("ping") == b"ok"
        site.rbkit.wait_for_subscribers(1)
        if how == "half a frame":
            client.send(encode(TEXT, b"x" * 1000)[:500])
        elif how == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "shut for writing":
            client.socket.shutdown(socket.SHUT_WR)
            client.read_to_end()
            site.settled()
    site.settled()


def test_a_client_that_vanishes_with_a_command_in_flight(site: Site) -> None:
    site.rbkit.delay = 0.3
    with site.raw() as client:
        client.send_text("ping")
        site.rbkit.wait_for_command(b"ping")
    site.settled()
    site.rbkit.delay = 0.0
    with site.raw() as client:
        assert client.command("standin echo mine") == b"mine"


def test_a_client_that_vanishes_before_its_101(site: Site) -> None:
    for _ in range(5):
        with RawClient(site.web.port) as client:
            client.send(upgrade_request(target()))
    site.settled()
    with site.raw() as client:
        assert client.command("ping") == b"ok"


def test_nothing_counts_behind_a_close_frame(site: Site) -> None:
    with site.raw() as client:
        client.send(encode(CLOSE, close_payload(1000)) + encode(TEXT, b"late"))
        assert client.closing().close_code == 1000
        client.read_to_end()
    site.settled()
    assert site.rbkit.commands == []


# Smuggling: what stands behind the last frame went past every check of a proxy

ENDINGS = {
    "close": encode(CLOSE, close_payload(1000)),
    "violation": encode(TEXT, b"x", masked=False),
    "too big": encode(TEXT, b"", length=300_000_000),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("when", ["behind the request", "in one piece", "later"])
def test_bytes_behind_the_last_frame_are_never_a_request(site: Site, ending: str, when: str) -> None:
    before = leaked(site)
    with RawClient(site.web.port) as client:
        if when == "behind the request":
            client.upgrade(target(), behind=ENDINGS[ending] + SMUGGLED * 50)
        else:
            client.upgrade(target())
            client.send(ENDINGS[ending] + (SMUGGLED * 50 if when == "in one piece" else b""))
        assert client.closing().close_code in (1000, 1002, 1009)
        if when == "later":
            try:
                client.send(SMUGGLED)
            except OSError:
                pass  # the connection is gone already
        assert client.read_to_end() == b""
    site.settled()
    assert leaked(site) == before


@pytest.fixture(scope="session")
def uncollected_site(server_name: str, fleet: Fleet) -> Site:
    return fleet.site(server_name, "plain", TEST_NO_GC="1")


def test_sessions_leave_no_descriptor_and_no_greenlet_even_without_garbage_collection(uncollected_site: Site) -> None:
    def facts() -> tuple[int, int]:
        found = json.loads(site.web.get("/facts"))
        return found["descriptors"], found["greenlets"]

    def some_sessions() -> None:
        for number in range(10):
            with site.raw() as client:
                assert client.command("ping") == b"ok"
                if number % 2:
                    client.close()
        site.settled()

    with in_use(uncollected_site) as site:
        some_sessions()
        before = facts()
        some_sessions()
        deadline = time.monotonic() + scaled(1)
        while True:
            after = facts()
            if after[0] <= before[0] and after[1] <= before[1]:
                break
            assert time.monotonic() < deadline, f"descriptors and greenlets: {after} after {before}"
