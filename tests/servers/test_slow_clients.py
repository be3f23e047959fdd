"""A client that does not keep up loses publications, hears of it, and costs the others nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.rawclient import BINARY, CLOSE, PING, TEXT, RawClient
from support.standin import counter_of
from support.waiting import scaled, wait_until

from .conftest import Fleet, Site, in_use, target

pytestmark = pytest.mark.long

MESSAGES, SIZE, WINDOW = 200, 100_000, 10


@pytest.fixture(scope="session")
def small_backlog_site(server_name: str, fleet: Fleet) -> Site:
    return fleet.site(server_name, RBKIT_BACKLOG="2000000", RBKIT_PING_INTERVAL="60")


@pytest.fixture
def small_backlog(small_backlog_site: Site) -> Iterator[Site]:
    """A site whose outboxes hold two megabytes."""
    with in_use(small_backlog_site):
        yield small_backlog_site


@pytest.fixture(scope="session")
def impatient_site(server_name: str, fleet: Fleet) -> Site:
    return fleet.site(server_name, RBKIT_PING_INTERVAL="0.2")


@pytest.fixture
def impatient(impatient_site: Site) -> Iterator[Site]:
    """A site that pings five times a second."""
    with in_use(impatient_site):
        yield impatient_site


def test_a_slow_reader_loses_publications_only_and_the_others_nothing(small_backlog: Site) -> None:
    site = small_backlog
    first = site.rbkit.published
    with site.connect() as fast, site.raw(receive_buffer=4096) as slow:
        fast.command("ping")
        assert slow.command("ping") == b"ok"
        counters: list[int] = []
        while len(counters) < MESSAGES:
            # As fast as this client reads, whoever else wants the processors: half of what its outbox holds.
            site.rbkit.flood(WINDOW, SIZE)
            if len(counters) == MESSAGES // 2:
                slow.send_text("standin echo while-stuck")
            counters += [counter_of(fast.publication()) for _ in range(WINDOW)]
        assert counters == list(range(first, first + MESSAGES)), "the fast client lost something"
        assert [text for text in fast.notices if not text.startswith("client_count")] == []
        slow.send_text("standin echo at-the-end")
        wait_until(lambda: fast.command("ping") == b"ok", "the fast client to be served")

        got: list[int] = []
        lost: list[int] = []
        answers: list[bytes] = []
        while len(got) + (lost[-1] if lost else 0) < MESSAGES or len(answers) < 2:
            message = slow.message()
            assert message.opcode != CLOSE, (message.close_code, message.close_reason)
            if message.opcode == TEXT:
                assert message.payload.startswith(b"0dropped:"), message.payload
                lost.append(int(message.payload[9:]))
            elif message.payload[:1] == b"0":
                answers.append(message.payload[1:])
            else:
                assert message.opcode == BINARY
                got.append(counter_of(message.payload[1:]))
        assert answers == [b"while-stuck", b"at-the-end"], "answers are never lost"
        assert lost == sorted(lost)
        assert 0 < lost[-1] == MESSAGES - len(got)
        assert got == sorted(set(got)), "whole frames in order"

        site.rbkit.flood(3)
        assert [counter_of(slow.message().payload[1:]) for _ in range(3)] == list(
            range(first + MESSAGES, first + MESSAGES + 3)
        ), "whoever catches up gets everything again"


def test_a_client_that_reads_in_time_loses_nothing_of_a_burst_below_the_bound(small_backlog: Site) -> None:
    with small_backlog.raw(receive_buffer=4096) as slow:
        assert slow.command("ping") == b"ok"
        first = small_backlog.rbkit.published
        small_backlog.rbkit.flood(15, SIZE)
        small_backlog.rbkit.wait_until_idle()
        assert [counter_of(slow.message().payload[1:]) for _ in range(15)] == list(range(first, first + 15))


def test_a_client_that_takes_nothing_is_closed(impatient: Site) -> None:
    with impatient.raw(receive_buffer=4096) as stalled, impatient.connect() as other:
        assert stalled.command("ping") == b"ok"
        other.command("ping")
        impatient.rbkit.flood(200, SIZE)
        log = len(impatient.web.log())
        for _ in range(200):
            other.publication()
        begin = time.monotonic()
        stalled.socket.settimeout(scaled(10))
        time.sleep(scaled(0.6))  # nothing to poll for: the point is not to read
        stalled.read_to_end()
        assert time.monotonic() - begin < scaled(5)
        assert other.command("ping") == b"ok"
        assert "Traceback" not in impatient.web.log()[log:]


def test_a_client_that_gives_no_sign_of_life_is_closed(impatient: Site) -> None:
    with RawClient(impatient.web.port) as silent:
        silent.upgrade(target())
        begin = time.monotonic()
        pings = 0
        while (frame := silent.frame()).opcode == PING:
            pings += 1
        assert pings >= 1
        assert (frame.opcode, frame.close_code) == (CLOSE, 1011)
        assert "no sign of life" in frame.close_reason
        assert time.monotonic() - begin < scaled(2)


def test_a_client_that_answers_pings_stays(impatient: Site) -> None:
    with impatient.raw() as client:
        times = []
        for _ in range(4):
            frame = client.frame()
            assert frame.opcode == PING
            client.send_frame(0xA, frame.payload)
            times.append(time.monotonic())
        assert 0.4 < times[-1] - times[0] < scaled(2)
        assert client.command("ping") == b"ok"


def test_a_command_is_a_sign_of_life_too(impatient: Site) -> None:
    with RawClient(impatient.web.port) as client:
        client.upgrade(target())
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            client.send_text("ping")
            while (frame := client.frame()).opcode == PING:
                pass
            assert frame.payload == b"0ok"
            time.sleep(0.02)
