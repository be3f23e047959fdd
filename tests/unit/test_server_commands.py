"""The embedded server on the wire: every command of the protocol, over real ZeroMQ, from an independent client."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from support.embeddedpeer import Peer, unpack
from support.waiting import scaled, wait_until

from rbkit_websocket.server import Server
from rbkit_websocket.system.started import process_name

GC_START, GC_END_M, GC_END_S, DUMP, STATS, CPU = 2, 3, 4, 5, 6, 9


@pytest.fixture
def endpoints(tmp_path: Path) -> tuple[str, str]:
    directory = Path("/tmp") / f"rbs-{os.getpid()}-{time.monotonic_ns():x}"
    directory.mkdir()
    try:
        yield f"ipc://{directory}/pub", f"ipc://{directory}/req"  # type: ignore[misc]
    finally:
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


@pytest.fixture
def server(request: pytest.FixtureRequest, endpoints: tuple[str, str]) -> Iterator[Server]:
    """Its parameter is how long its profilers go on without a client."""
    linger = getattr(request, "param", 30)
    server = Server([endpoints[0]], [endpoints[1]], server_id="1-test", application="shop", linger=linger)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def peer(server: Server, endpoints: tuple[str, str]) -> Iterator[Peer]:
    with Peer(*endpoints) as peer:
        yield peer


@pytest.mark.smoke
def test_handshake_has_the_protocols_keys_and_only_strings_besides(peer: Peer) -> None:
    message = peer.map("handshake")
    payload = message[2]
    assert message[0] == 8
    assert abs(message[1] - time.time() * 1000) < 60_000
    assert payload.pop("rbkit_protocol_version") == "2.1"
    assert payload.pop("pid") == os.getpid()
    assert payload.pop("pwd") == os.getcwd()
    assert payload.pop("process_name") == process_name()
    assert payload.pop("object_trace_enabled") == 0
    assert payload.pop("cpu_profiling_enabled") == 0
    assert payload.pop("clock_type") == "cpu"
    assert payload.pop("cpu_profiling_mode") == "sampling"
    assert payload.pop("rbkit_server_version")
    assert all(type(value) is str for value in payload.values())
    assert payload["extensions"] == (
        "status,goodbye,"
        "cpu_profile,start_cpu_polling,cpu_events,set_cpu_interval,wait_profile,"
        "stacks,blocked,"
        "trace_objects,memory_profile,snapshot_start,snapshot_status,snapshot_chunk"
    )
    assert payload["language"] == "python"
    assert payload["native"] == "yes" or payload["native"].startswith(("yes: ", "no: "))
    assert payload["server_id"] == "1-test"


@pytest.mark.parametrize(
    "command",
    [
        "start_memory_profile",
        "stop_memory_profile",
        "start_cpu_profiling",
        "stop_cpu_profiling",
        "use_cpu_time",
        "use_wall_time",
        "trigger_gc",
        "objectspace_snapshot",
        "ping",
        "",
        "no such thing at all",
        "start_cpu_profiling now",
        "\N{SNOWMAN}",
    ],
)
def test_every_command_is_answered_with_ok_and_again(peer: Peer, command: str) -> None:
    assert peer.ask(command) == b"ok"
    assert peer.ask(command) == b"ok"


def test_bytes_that_are_no_text_are_answered(peer: Peer) -> None:
    assert peer.ask(b"\xff\xfe\x00") == b"ok"


@pytest.mark.small_heap
def test_a_correlated_client_is_answered(server: Server, endpoints: tuple[str, str]) -> None:
    with Peer(*endpoints, correlated=True) as peer:
        peer.req.send(b"objectspace_snapshot")
        # Relaxed: another request without having read the answer, which is then dropped.
        assert peer.handshake()["pid"] == os.getpid()


def test_a_dealer_is_answered_with_and_without_the_delimiter(server: Server, endpoints: tuple[str, str]) -> None:
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.rcvtimeo = 5000
    dealer.connect(endpoints[1])
    try:
        dealer.send_multipart([b"", b"ping"])
        assert dealer.recv_multipart() == [b"", b"ok"]
        dealer.send_multipart([b"7", b"8", b"", b"ping"])
        assert dealer.recv_multipart() == [b"7", b"8", b"", b"ok"]
        dealer.send(b"ping")
        assert dealer.recv_multipart() == [b"ok"]
    finally:
        dealer.close()
        context.term()


def test_clock_is_that_of_the_next_start(peer: Peer) -> None:
    peer.ask("start_cpu_profiling")
    peer.ask("use_wall_time")
    assert peer.handshake()["clock_type"] == "cpu"
    peer.ask("stop_cpu_profiling")
    peer.ask("start_cpu_profiling")
    assert peer.handshake()["clock_type"] == "wall"
    assert peer.map("cpu_profile")["clock"] == "wall"


def test_flags_of_the_handshake_follow_the_commands(peer: Peer) -> None:
    peer.ask("start_memory_profile")
    peer.ask("start_cpu_profiling")
    payload = peer.handshake()
    assert (payload["object_trace_enabled"], payload["cpu_profiling_enabled"]) == (1, 1)
    peer.ask("stop_memory_profile")
    peer.ask("stop_cpu_profiling")
    payload = peer.handshake()
    assert (payload["object_trace_enabled"], payload["cpu_profiling_enabled"]) == (0, 0)


def test_set_cpu_interval_answers_what_is_in_force(peer: Peer) -> None:
    native = peer.handshake()["native"].startswith("yes")
    answer = {"interval_us": 500, "effective_interval_us": 500 if native else 10_000}
    assert peer.map("set_cpu_interval 500") == answer
    assert peer.map("set_cpu_interval 50000") == {"interval_us": 50_000, "effective_interval_us": 50_000}
    assert peer.map("cpu_profile")["interval_us"] == 50_000


@pytest.mark.parametrize("server", [1.0], indirect=True)
def test_of_several_intervals_the_shortest_is_in_force_and_each_goes_with_its_client(
    peer: Peer, endpoints: tuple[str, str]
) -> None:
    peer.map("start_cpu_polling")
    with Peer(*endpoints) as other, Peer(*endpoints) as silent:
        assert peer.map("set_cpu_interval 30000")["interval_us"] == 30_000
        assert other.map("set_cpu_interval 20000")["interval_us"] == 20_000
        assert peer.map("set_cpu_interval 50000")["interval_us"] == 20_000
        assert silent.map("set_cpu_interval 15000")["interval_us"] == 15_000
        silent.map("cpu_profile")
        # It has polled and does so no more; the others go on.
        wait_until(
            lambda: other.map("cpu_profile") and peer.map("cpu_profile")["interval_us"] == 20_000,
            "the silent one's end",
        )
        assert silent.map("cpu_profile")["interval_us"] == 15_000, "it is there again"
        silent.map("goodbye")
        assert peer.map("cpu_profile")["interval_us"] == 20_000
        assert other.map("goodbye") == {}
        assert peer.map("cpu_profile")["interval_us"] == 50_000
    peer.map("goodbye")
    assert peer.map("cpu_profile")["interval_us"] == 1000


@pytest.mark.parametrize("server", [1.0], indirect=True)
def test_the_interval_of_a_client_that_only_listens_lasts_while_it_does(peer: Peer, endpoints: tuple[str, str]) -> None:
    with Peer(*endpoints) as listener, Peer(*endpoints) as silent:
        listener.subscribe()
        listener.ask("start_cpu_profiling")
        listener.map("set_cpu_interval 20000")
        silent.map("set_cpu_interval 10000")
        silent.map("cpu_profile")
        # What has been wished later, by a client that polled, ends first.
        wait_until(lambda: peer.map("cpu_profile")["interval_us"] != 10_000, "the silent one's end")
        assert peer.map("cpu_profile")["interval_us"] == 20_000
        listener.unsubscribe()
        wait_until(lambda: peer.map("cpu_profile")["interval_us"] == 1000, "its end")


def test_one_clients_off_does_not_undo_anothers_on(server: Server, peer: Peer, endpoints: tuple[str, str]) -> None:
    peer.map("start_cpu_polling")
    with Peer(*endpoints) as other:
        assert peer.map("wait_profile on") == {"wanted": True, "active": True}
        assert other.map("wait_profile off") == {"wanted": False, "active": True}
        assert other.map("wait_profile on") == {"wanted": True, "active": True}
        assert peer.map("wait_profile off") == {"wanted": False, "active": True}
        other.map("goodbye")
        assert peer.map("wait_profile off") == {"wanted": False, "active": False}


def test_the_clock_chosen_is_that_of_what_is_published_and_both_can_be_read(server: Server, subscriber: Peer) -> None:
    subscriber.map("start_cpu_polling")
    subscriber.ask("use_wall_time")
    assert subscriber.map("cpu_profile")["clock"] == "cpu", "not before it is published by it"
    subscriber.ask("start_cpu_profiling")
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        pass
    profile = subscriber.map("cpu_profile")
    assert profile["clock"] == "wall"
    assert profile["weight_us"] == profile["wall_us"] > profile["cpu_us"] > 0
    subscriber.event(lambda event: event[0] == 9)
    subscriber.ask("use_cpu_time")
    subscriber.ask("start_cpu_profiling")
    assert subscriber.map("cpu_profile")["clock"] == "wall", "who came first keeps what it chose"


@pytest.mark.parametrize(
    "command",
    [
        "goodbye now",
        "set_cpu_interval",
        "set_cpu_interval x",
        "set_cpu_interval -5",
        "set_cpu_interval 0",
        "set_cpu_interval 1_000",
        "set_cpu_interval 1000 2000",
        "set_cpu_interval 99999999999999999999999",
        "cpu_profile x",
        "cpu_profile 1 2",
        "stacks please",
        "wait_profile",
        "wait_profile maybe",
        "blocked now",
        "wait_profile on off",
    ],
)
def test_wrong_arguments_are_told(peer: Peer, command: str) -> None:
    answer = peer.map(command)
    assert answer["error"] == "bad_argument"
    assert set(answer) == {"error", "message"}
    assert answer["message"]


def test_blocked_says_where_it_does_not_apply() -> None:
    program = """
import sys
from rbkit_websocket.server import start_server
assert "gevent" not in sys.modules
server = start_server(None, None)
print(server._commands.answer("blocked"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "not_applicable" in done.stdout, done.stderr


def test_memory_profile_publishes_collections_and_stats_in_event_collections(subscriber: Peer) -> None:
    subscriber.ask("start_memory_profile")
    seen: dict[int, dict[int, Any]] = {}
    counters = []
    for message in subscriber.messages():
        assert message[0] == 7
        counters.append(message[9])
        seen.update((event[0], event) for event in message[2])
        if {GC_START, GC_END_M, GC_END_S, STATS} <= set(seen):
            break
        gc.collect()
    assert counters == list(range(counters[0], counters[0] + len(counters)))
    assert counters[0] == 0
    assert set(seen[GC_START]) == set(seen[GC_END_M]) == set(seen[GC_END_S]) == {0, 1}
    stats = seen[STATS][2]
    assert all(type(key) is str and type(value) in (int, float) for key, value in stats.items())
    assert stats["count"] == stats["minor_gc_count"] + stats["major_gc_count"]


@pytest.mark.small_heap
def test_two_subscribers_both_get_everything(server: Server, subscriber: Peer, endpoints: tuple[str, str]) -> None:
    with Peer(*endpoints) as other:
        other.subscribe()
        # XPUB does not tell of a second subscriber: snapshots until it has one whole.
        other.sub.rcvtimeo = 100
        while True:
            subscriber.ask("objectspace_snapshot")
            try:
                other.sub.recv()
                break
            except zmq.Again:
                continue
        wanted = read_dump(subscriber, server.dumps.count)
        subscriber.ask("objectspace_snapshot")
        number = server.dumps.count
        assert read_dump(other, number) == read_dump(subscriber, number)
        assert wanted


def read_dump(peer: Peer, number: int) -> set[int]:
    """The ids of one dump, checked as clients do."""
    ids: list[int] = []
    totals = set()
    for message in peer.messages():
        for event in message[2]:
            if event[0] != DUMP or event[10] != number:
                continue
            assert len(message[2]) == 1
            assert len(event[2]) <= 1000
            totals.add(event[11])
            ids += [item[3] for item in event[2]]
        if totals and len(ids) >= max(totals):
            break
    assert len(totals) == 1
    assert len(ids) == len(set(ids)) == totals.pop()
    return set(ids)


@pytest.mark.small_heap
@pytest.mark.smoke
def test_a_snapshot_arrives_whole_with_one_correlation_id_each(server: Server, subscriber: Peer) -> None:
    assert subscriber.ask("objectspace_snapshot") == b"ok"
    first = read_dump(subscriber, 1)
    assert subscriber.ask("objectspace_snapshot") == b"ok"
    assert len(read_dump(subscriber, 2)) > len(first) // 2


@pytest.mark.small_heap
def test_commands_are_answered_while_a_snapshot_runs(server: Server, subscriber: Peer, endpoints: Any) -> None:
    subscriber.req.send(b"objectspace_snapshot")
    wait_until(lambda: server.dumps.running, "the snapshot")
    with Peer(*endpoints) as other:
        assert other.handshake()["pid"] == os.getpid()
        assert server.dumps.running
        # A second one joins: both get their ok at the end, and there is one dump.
        assert other.ask("objectspace_snapshot") == b"ok"
    assert subscriber.req.recv() == b"ok"
    assert server.dumps.count == 1


@pytest.mark.small_heap
def test_a_snapshot_goes_at_the_rate_that_is_set(endpoints: tuple[str, str]) -> None:
    server = Server([endpoints[0]], [endpoints[1]], snapshot_rate=2_000_000)
    server.start()
    try:
        with Peer(*endpoints) as peer:
            peer.subscribe()
            wait_until(server.audience, "the subscription")
            peer.req.send(b"objectspace_snapshot")
            sizes = 0
            began = None
            while True:
                try:
                    data = peer.sub.recv()
                except zmq.Again:
                    assert not server.dumps.running or sizes < 3_000_000 or began is None
                    continue
                began = began or time.monotonic()
                sizes += len(data)
                if sizes > 1_500_000:
                    break
            elapsed = time.monotonic() - began
            assert sizes / (elapsed + 0.1) < 2 * 2_000_000
    finally:
        server.stop()


@pytest.mark.small_heap
def test_without_subscribers_nothing_is_sent_and_a_snapshot_is_short(server: Server, peer: Peer) -> None:
    peer.ask("start_memory_profile")
    gc.collect()
    assert peer.ask("objectspace_snapshot") == b"ok"
    assert server.publisher.counter == 0


@pytest.mark.parametrize("server", [0.3], indirect=True)
def test_what_a_command_started_stops_after_the_last_subscriber_left(server: Server, subscriber: Peer) -> None:
    subscriber.ask("start_cpu_profiling")
    subscriber.ask("start_memory_profile")
    threading.Event().wait(0.6)
    assert server.profiling.cpu.profiler.running, "it stays on as long as somebody listens"
    subscriber.unsubscribe()
    wait_until(lambda: not server.profiling.on, "the profilers to stop")
    assert subscriber.handshake()["cpu_profiling_enabled"] == 0


@pytest.mark.parametrize("server", [1.0], indirect=True)
def test_polling_keeps_the_sampler_alive_and_its_end_stops_it(server: Server, peer: Peer) -> None:
    peer.ask("start_cpu_profiling")
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        assert peer.map("cpu_profile")["running"]
        threading.Event().wait(0.05)
    # A handshake is no sign of life.
    wait_until(lambda: peer.handshake()["cpu_profiling_enabled"] == 0, "the sampler to stop", timeout=2)


def test_a_handler_that_fails_is_answered_and_logged(
    server: Server, peer: Peer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server.profiling.memory, "start", lambda: 1 / 0)
    answer = peer.map("start_memory_profile")
    assert answer["error"] == "failed"
    assert "ZeroDivisionError" in answer["message"]
    wait_until(lambda: "ZeroDivisionError" in caplog.text, "the log")
    assert caplog.records[0].name == "rbkit_websocket"
    assert peer.ask("ping") == b"ok"


def test_a_turn_that_fails_does_not_end_the_thread(
    server: Server, peer: Peer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([True])

    def tick(now: float) -> None:
        if next(failures, False):
            raise RuntimeError("once")

    monkeypatch.setattr(server.profiling, "tick", tick)
    assert peer.ask("ping") == b"ok"
    assert peer.ask("ping") == b"ok"
    wait_until(lambda: "once" in caplog.text, "the log")


def test_callbacks_get_messages_and_answers_without_any_socket() -> None:
    server = Server()
    answers: list[bytes] = []
    published: list[bytes] = []
    server.respond_callback = answers.append
    server.publish_callback = published.append
    server.start()
    try:
        server.process_incoming_request("handshake")
        server.process_incoming_request(b"start_memory_profile")
        wait_until(lambda: len(answers) == 2, "the answers")
        assert unpack(answers[0])[0] == 8
        assert answers[1] == b"ok"
        wait_until(lambda: published, "a publication")
        message = unpack(published[0])
        assert (message[0], message[9]) == (7, 0)
    finally:
        server.stop()


def test_a_callback_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def callback(message: bytes) -> None:
        raise RuntimeError("the application's own fault")

    server = Server()
    server.respond_callback = callback
    server.start()
    try:
        server.process_incoming_request("ping")
        wait_until(lambda: "own fault" in caplog.text, "the log")
        assert server.running
    finally:
        server.stop()


def test_idle_costs_no_processor_time(server: Server, peer: Peer) -> None:
    peer.ask("start_cpu_profiling")
    peer.ask("stop_cpu_profiling")
    began = time.process_time()
    threading.Event().wait(1.0)
    assert time.process_time() - began < scaled(0.02)


@pytest.mark.small_heap
def test_a_client_that_goes_away_before_its_answer_harms_nobody(server: Server, endpoints: tuple[str, str]) -> None:
    with Peer(*endpoints) as gone:
        gone.req.send(b"objectspace_snapshot")
    with Peer(*endpoints) as peer:
        assert peer.ask("ping") == b"ok"


def test_an_endpoint_in_use_is_told(server: Server) -> None:
    from rbkit_websocket.errors import ServerStartError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServerStartError, match="in use"):
            Server([f"tcp://127.0.0.1:{taken.getsockname()[1]}"]).start()


def test_it_listens_at_a_unix_socket_beside_its_ports_and_at_another_one_later(
    endpoints: tuple[str, str], tmp_path: Path
) -> None:
    paths = [f"unix://{tmp_path}/{name}" for name in ("first", "second")]
    server = Server([endpoints[0]], [endpoints[1]], path=paths[0].removeprefix("unix://"))
    server.start()
    try:
        with Peer.at(paths[0]) as first, Peer(*endpoints) as other:
            first.subscribe()
            server.listen(paths[1].removeprefix("unix://"))
            with Peer.at(paths[1]) as second:
                for peer in (first, second, other):
                    assert peer.ask("ping") == b"ok"
                assert second.ask("start_memory_profile") == b"ok"
                assert first.event(lambda event: event[0] == 6)
    finally:
        server.stop()


def test_start_cpu_polling_publishes_no_samples(peer: Peer) -> None:
    peer.subscribe()
    answer = peer.map("start_cpu_polling")
    assert (answer["running"], answer["events"], answer["clock"]) == (True, False, "cpu")
    assert peer.handshake()["cpu_events"] == "off"
    assert peer.ask("start_cpu_profiling") == b"ok"
    assert peer.handshake()["cpu_events"] == "on"
    # Another client that polls takes nothing away from those who listen.
    assert peer.map("start_cpu_polling")["events"] is True
    assert peer.map("cpu_events off")["events"] is False
    assert peer.map("cpu_events on")["events"] is True
    assert peer.map("cpu_events maybe")["error"] == "bad_argument"
    assert peer.map("start_cpu_polling now")["error"] == "bad_argument"
    assert peer.ask("stop_cpu_profiling") == b"ok"
    assert peer.handshake()["cpu_events"] == "off"
