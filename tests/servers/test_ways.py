"""The ways to a server besides plain TCP: TLS, Unix sockets, nginx, a URL prefix, the PROXY protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.rawclient import CLOSE, PING, TEXT, RawClient, encode, upgrade_request
from support.servers import SERVERS, TOKEN, WITH_WEBSOCKETS
from support.standin import RECORDINGS, counter_of
from support.transports import Authority, TlsClient
from support.waiting import scaled, wait_until
from websockets.sync.client import connect

from .conftest import target
from .ways import PING_INTERVAL, UNHURRIED, WAYS, Builder, Way


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


def test_the_list_of_servers_tells_of_no_obstacle(way: Way) -> None:
    assert json.loads(way.get(f"__rbkit__/servers?token={TOKEN}"))["obstacle"] is None


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
    [
        (True, {}, "https://127.0.0.1:{}/__rbkit__/#token="),
        (False, {"SCRIPT_NAME": "/shop"}, "http://127.0.0.1:{}/shop/__rbkit__/#token="),
    ],
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
