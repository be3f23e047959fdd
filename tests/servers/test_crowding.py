"""What one session costs the application and the other sessions, however it behaves."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from support.rawclient import PING, RawClient, encode
from support.standin import counter_of
from support.waiting import scaled

from rbkit_websocket.protocol.envelope import escape

from .conftest import Fleet, Site, in_use, target

SERVERS = ["gunicorn-gevent", "pywsgi"]


@pytest.fixture(scope="session", params=SERVERS)
def shared_site(request: pytest.FixtureRequest, fleet: Fleet) -> Site:
    return fleet.site(request.param, RBKIT_BACKLOG="2000000")


@pytest.fixture
def shared(shared_site: Site) -> Iterator[Site]:
    """A site whose sessions share an event loop with the application."""
    with in_use(shared_site):
        yield shared_site


@contextmanager
def flooding(site: Site, data: bytes) -> Iterator[None]:
    """A client that sends ``data`` again and again, and reads whatever comes."""
    with RawClient(site.web.port) as client:
        client.upgrade(target())
        over = threading.Event()

        def send() -> None:
            while not over.is_set():
                client.socket.sendall(data)

        def receive() -> None:
            while client.socket.recv(1 << 16):
                pass

        threads = [threading.Thread(target=run, daemon=True) for run in (quiet(send), quiet(receive))]
        for thread in threads:
            thread.start()
        yield
        over.set()
        client.socket.shutdown(2)
        for thread in threads:
            thread.join(scaled(10))
            assert not thread.is_alive()


def quiet(run: Callable[[], None]) -> Callable[[], None]:
    def runs() -> None:
        try:
            run()
        except OSError:
            pass  # the connection has ended

    return runs


def median_request(site: Site, count: int) -> float:
    """Seconds that a request takes."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        site.web.get("/hello")
        times.append(time.perf_counter() - began)
    return statistics.median(times)


FLOODS = {"pings": encode(PING, b"flood") * 500, "pongs": encode(0xA, b"") * 500}


@pytest.mark.timing
@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("clients", [1, 4])
def test_a_flood_leaves_the_application_its_share(shared: Site, flood: str, clients: int) -> None:
    before = median_request(shared, 50)
    with ExitStack() as stack:
        for _ in range(clients):
            stack.enter_context(flooding(shared, FLOODS[flood]))
        during = median_request(shared, 50)
    print(f"\n{clients} x {flood}: a request takes {during / before:.1f} times as long")
    assert during < 20 * before


def test_publications_of_a_text_client_that_does_not_read_are_not_escaped(shared: Site) -> None:
    """Held against the same flood without that client, in the worker's processor time."""
    with shared.connect() as binary:
        binary.command("ping")
        worker = psutil.Process(int(shared.web.get("/hello").split()[-1]))

        def spent() -> float:
            before = sum(worker.cpu_times()[:2])
            for _ in range(20):
                first = shared.rbkit.published
                shared.rbkit.flood(10, 100_000)
                assert [counter_of(binary.publication()) for _ in range(10)] == list(range(first, first + 10))
            return sum(worker.cpu_times()[:2]) - before

        alone = spent()
        with shared.raw(frames="text", receive_buffer=4096) as text:
            text.send_text("ping")
            assert text.message().payload == b"0ok"
            together = spent()
    began = time.process_time()
    escape(bytes(2_000_000))
    dear = 10 * (time.process_time() - began)
    print(f"\n20 MB for a binary client: {alone:.2f} s, with a text client that does not read {together:.2f} s")
    assert together - alone < dear / 2, f"to escape them all takes {dear:.2f} s"
