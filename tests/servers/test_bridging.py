"""What an Rbkit server and its clients say to each other, through each web server."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack

import pytest
from support.rawclient import BINARY, TEXT, encode
from support.standin import ALL_BYTES, RECORDINGS, counter_of
from support.waiting import scaled

from rbkit_websocket.protocol.envelope import unescape
from rbkit_websocket.protocol.messages import decode_answer

from .conftest import Site

COMMANDS = [
    "start_memory_profile",
    "stop_memory_profile",
    "start_cpu_profiling",
    "stop_cpu_profiling",
    "use_cpu_time",
    "use_wall_time",
    "trigger_gc",
    "objectspace_snapshot",
    "ping",
]


@pytest.mark.smoke
def test_commands_are_answered(any_site: Site) -> None:
    with any_site.connect() as client:
        assert [client.command(command) for command in COMMANDS] == [b"ok"] * len(COMMANDS)
        handshake = decode_answer(client.command("handshake"))
        assert isinstance(handshake, dict)
        assert handshake["payload"]["rbkit_protocol_version"] == "2.1"
    assert any_site.rbkit.commands == [*(command.encode() for command in COMMANDS), b"handshake"]


def test_answers_come_in_order_however_fast_the_commands(site: Site) -> None:
    with site.connect() as client:
        for number in range(60):
            client.send(f"standin echo {number}")
        assert [client.answer() for _ in range(60)] == [b"%d" % number for number in range(60)]


def test_clients_get_their_own_answers(site: Site) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(site.connect()) for _ in range(6)]
        for turn in range(10):
            for number, client in enumerate(clients):
                client.send(f"standin echo {number}-{turn}")
        for number, client in enumerate(clients):
            assert [client.answer() for _ in range(10)] == [b"%d-%d" % (number, turn) for turn in range(10)]


def test_a_command_may_come_in_any_kind_of_frame(site: Site) -> None:
    with site.raw() as client:
        client.send_frame(BINARY, b"standin echo binary")
        assert client.answer() == b"binary"
        client.send(
            encode(TEXT, b"standin ", fin=False)
            + encode(9, b"in between")
            + encode(0, b"", fin=False)
            + encode(0, b"echo pieces")
        )
        assert client.answer() == b"pieces"


@pytest.mark.parametrize("command", [b"", b"\0", b"\0ping", b"\0" * 500])
def test_what_a_ruby_server_does_not_survive_is_answered_in_its_place(site: Site, command: bytes) -> None:
    with site.raw() as client, site.connect() as other:
        # In the order of the commands, whoever answers them.
        client.send_frame(BINARY, b"standin echo before")
        client.send_frame(BINARY, command)
        client.send_frame(BINARY, b"standin echo behind")
        assert [client.answer() for _ in range(3)] == [b"before", b"ok", b"behind"]
        client.send_frame(BINARY if b"\0" in command else TEXT, command)
        assert client.answer() == b"ok"
        assert other.command("standin echo alive") == b"alive"
    assert not site.rbkit.wedged
    assert command not in site.rbkit.commands


@pytest.mark.parametrize("command", [b"ping\0", b"a\0b", b" ", b"\n", b"\xff\xfe", bytes(range(1, 256)), b"x" * 65536])
def test_other_odd_commands_reach_the_server(site: Site, command: bytes) -> None:
    with site.raw() as client, site.connect() as other:
        client.send_frame(BINARY, command)
        assert client.answer() == b"ok"
        assert other.command("standin echo alive") == b"alive"
    assert command.partition(b"\0")[0] in site.rbkit.commands, "a string of C ends with NUL"


def test_answers_of_all_bytes_and_sizes(site: Site) -> None:
    with site.connect() as client:
        for size in (0, 1, 124, 125, 126, 65534, 65535, 65536, 3_000_000):
            assert client.command(f"standin answer {size}") == (ALL_BYTES * (size // 256 + 1))[:size]


@pytest.mark.smoke
def test_recordings_arrive_byte_for_byte(any_site: Site) -> None:
    with any_site.connect() as client:
        client.command("ping")
        any_site.rbkit.replay()
        assert [client.publication() for _ in RECORDINGS] == list(RECORDINGS.values())


def test_every_client_gets_every_publication(site: Site) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(site.connect()) for _ in range(8)]
        for client in clients:
            client.command("ping")
        first = site.rbkit.published
        site.rbkit.flood(1000, 200)
        for client in clients:
            counters = [counter_of(client.publication()) for _ in range(1000)]
            assert counters == list(range(first, first + 1000))


def test_one_subscription_serves_all_clients_and_ends_with_the_last(site: Site) -> None:
    with site.connect() as first:
        first.command("ping")
        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(site.connect()).command("ping")
            assert site.rbkit.subscribers == 1
        first.command("ping")
        assert site.rbkit.subscribers == 1
    site.settled()


def test_a_publication_follows_the_first_answer(site: Site) -> None:
    """Whoever has an answer is subscribed: nothing that happens from then on is missed."""
    for _ in range(10):
        with site.connect() as client:
            client.command("ping")
            site.rbkit.publish(b"\x80")
            assert client.publication() == b"\x80"


@pytest.mark.parametrize("size", [65_535, 65_536, 1_000_000, 24_000_000])
def test_large_publications(site: Site, size: int) -> None:
    message = (ALL_BYTES * (size // 256 + 1))[:size]
    with site.connect() as one, site.connect() as other:
        one.command("ping")
        other.command("ping")
        site.rbkit.publish(message, b"after")
        for client in (one, other):
            assert client.publication() == message
            assert client.publication() == b"after"


def test_small_and_large_publications_keep_their_order(site: Site) -> None:
    messages = [bytes([number]) * (200_000 if number % 7 == 0 else number) for number in range(100)]
    with site.connect() as client:
        client.command("ping")
        site.rbkit.publish(*messages)
        assert [client.publication() for _ in messages] == messages


def test_a_flood_of_publications_hardly_delays_a_command(site: Site) -> None:
    with site.connect() as client:
        client.command("ping")
        site.rbkit.flood(6000, 200, rate=6000)
        delays = []
        for _ in range(10):
            begin = time.perf_counter()
            client.command("ping")
            delays.append(time.perf_counter() - begin)
        assert statistics.median(delays) < scaled(0.05), delays
        while len(client.publications) < 6000:
            client.publications.append(client.publication())
            client.command("ping")


def test_a_snapshot_arrives_whole(site: Site) -> None:
    with site.connect() as client:
        client.command("objectspace_snapshot")
        parts = [client.publication() for _ in range(3)]
    assert [len(part) > 1000 for part in parts] == [True] * 3


# Text frames for the old browser clients


def test_text_frames_on_demand(site: Site) -> None:
    with site.raw(frames="text") as client:
        client.send_text("standin answer 1000")
        answer = client.message()
        assert (answer.opcode, answer.payload[:1]) == (TEXT, b"0")
        assert unescape(answer.payload[1:]) == (ALL_BYTES * 4)[:1000]
        assert b" " not in answer.payload
        assert b"+" not in answer.payload
        site.rbkit.replay()
        for recording in RECORDINGS.values():
            message = client.message()
            assert (message.opcode, message.payload[:1]) == (TEXT, b"1")
            message.payload.decode("ascii")
            assert unescape(message.payload[1:]) == recording


def test_both_framings_side_by_side(site: Site) -> None:
    with site.connect() as binary:
        binary.command("ping")
        with site.raw(frames="text") as text:
            text.send_text("ping")
            assert text.message().payload == b"0ok"
            site.rbkit.publish(b"\x80 +", b"\x81")
            assert [text.message().payload, text.message().payload] == [b"1%80%20%2B", b"1%81"]
            assert [binary.publication(), binary.publication()] == [b"\x80 +", b"\x81"]


# Notices


def test_older_clients_are_told_of_newer_ones(site: Site) -> None:
    with site.connect() as first:
        first.command("ping")
        with site.raw(frames="text") as second:
            assert first.notice() == "client_count:2"
            second.send_text("ping")
            assert second.message().payload == b"0ok"
            with site.connect() as third:
                assert first.notice() == "client_count:3"
                notice = second.message()
                assert (notice.opcode, notice.payload) == (TEXT, b"0client_count:3")
                third.command("ping")
                assert third.notices == []
    site.settled()
    with site.connect() as alone:
        alone.command("ping")
        assert alone.notices == []


def test_an_answer_is_never_a_text_frame(site: Site) -> None:
    with site.raw() as client:
        client.send_text("standin echo client_count:7")
        message = client.message()
        assert (message.opcode, message.payload) == (BINARY, b"0client_count:7")
