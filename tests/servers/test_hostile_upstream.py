"""The memory of a bridge whose Rbkit server means harm, held against what its options promise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psutil
import pytest
from support.cliprocess import running
from support.hostilepeer import Behaviour, hostile
from support.hostilezmtp import endless, zmtp, zmtp_frame
from support.rawclient import RawClient
from support.servers import SERVERS
from support.waiting import scaled

MIB = 1024 * 1024
# libzmq may keep 32 MiB of messages of at most 4, and each client's outbox 8.
OPTIONS = {"RBKIT_MAX_SERVER_MESSAGE": str(4 * MIB), "RBKIT_BACKLOG": str(8 * MIB)}
ENOUGH = 600 * MIB
TOKEN = "long-enough-for-this"


@dataclass
class Meter:
    """How much a hostile server has got rid of."""

    sent: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def count(self, size: int) -> None:
        self.sent += size


@dataclass
class Bridge:
    port: int
    process: psutil.Process


@contextmanager
def gateway(pub: int, req: int) -> Iterator[Bridge]:
    server = f"--server=web=tcp://127.0.0.1:{pub},{req}"
    with running("gateway", "--bind", "127.0.0.1:0", "--token", TOKEN, server, env=OPTIONS) as process:
        yield Bridge(process.port, psutil.Process(process.process.pid))


@contextmanager
def worker(pub: int, req: int) -> Iterator[Bridge]:
    env = {
        **OPTIONS,
        "RBKIT_TOKEN": TOKEN,
        "RBKIT_PUB_ENDPOINT": f"tcp://127.0.0.1:{pub}",
        "RBKIT_REQ_ENDPOINT": f"tcp://127.0.0.1:{req}",
    }
    with SERVERS["gunicorn-gevent"]("flask", env=env) as web:
        yield Bridge(web.port, psutil.Process(int(web.get("/hello").split()[-1])))


HOSTS = {"gateway": gateway, "worker": worker}

FLOODS: dict[str, tuple[bytes, bytes]] = {
    "messages of 1 MB": (b"", zmtp_frame(b"x" * 1_000_000)),
    "messages of 100 MB": (b"", zmtp_frame(b"x" * 100_000_000)),
    "a message of 4 GiB": (zmtp_frame(b"", length=2**32), b"x" * MIB),
    "parts without end": (b"", zmtp_frame(b"x" * MIB, more=True)),
    "small parts without end": (b"", zmtp_frame(b"x" * 100, more=True) * 1000),
}


def quiet(meter: Meter) -> Behaviour:
    """Says nothing."""
    return lambda _: meter.over.wait()


def watch(meter: Meter, process: psutil.Process) -> int:
    """The most memory that the process has had by the time the flood has ended, or nobody takes more of it."""
    most, sent, since = 0, -1, time.monotonic()
    deadline = since + scaled(20)
    while meter.sent < ENOUGH and time.monotonic() < deadline:
        most = max(most, process.memory_info().rss)
        if meter.sent != sent:
            sent, since = meter.sent, time.monotonic()
        elif sent and time.monotonic() - since > 2:
            break
        time.sleep(0.01)
    assert meter.sent, "the flood never began"
    return max(most, process.memory_info().rss)


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("socket", ["PUB", "REP"])
def test_a_flood_takes_no_more_than_its_bounds(host: str, socket: str, flood: str) -> None:
    meter = Meter()
    harm = zmtp(socket, endless(*FLOODS[flood], meter.count, meter.over))
    with ExitStack() as stack:
        pub = stack.enter_context(hostile(harm if socket == "PUB" else zmtp("PUB", quiet(meter))))
        req = stack.enter_context(hostile(harm if socket == "REP" else zmtp("REP", quiet(meter))))
        bridge = stack.enter_context(HOSTS[host](pub, req))
        stack.callback(meter.over.set)
        before = bridge.process.memory_info().rss
        clients = [stack.enter_context(RawClient(bridge.port, receive_buffer=4096)) for _ in range(2)]
        for client, frames in zip(clients, ("binary", "text"), strict=True):
            client.upgrade(f"/?token={TOKEN}&frames={frames}")
        most = watch(meter, bridge.process)
        print(f"\n{host}, {socket}: {flood}: {meter.sent // MIB} MiB sent, {(most - before) // MIB} MiB kept")
        assert most - before < 150 * MIB
        assert bridge.process.is_running()
