"""The client's parts without a connection: addresses, and the queue of publications."""

from __future__ import annotations

import msgpack
import pytest
from support.clientpeer import collection
from support.standin import RECORDINGS

from rbkit_websocket import ConfigurationError, connect
from rbkit_websocket.client.address import parse_url
from rbkit_websocket.client.publications import Publications, thinned
from rbkit_websocket.protocol.counter import Gaps, message_counter


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://h:1/", "ws://h:1/?frames=binary"),
        ("wss://h", "wss://h/?frames=binary"),
        ("http://h:80/a/b", "ws://h:80/a/b?frames=binary"),
        ("HTTPS://H/", "wss://h/?frames=binary"),
        ("ws://[::1]:8000/", "ws://[::1]:8000/?frames=binary"),
        ("ws://h/?a=1&b=%20+x&c", "ws://h/?a=1&b=%20+x&c&frames=binary"),
        ("ws://h/?frames=text&a=1", "ws://h/?a=1&frames=binary"),
        ("ws://u:p@h/", "ws://h/?frames=binary"),
        ("ws://h/?server=1-a", "ws://h/?server=1-a&frames=binary"),
    ],
)
def test_url_is_translated_and_keeps_its_query(url, expected):
    assert parse_url(url).url == expected


@pytest.mark.parametrize(
    "url",
    ["http://h/?token=se%2Bcret&x=1", "http://h/?x=1#token=se%2Bcret", "http://h/?x=1#a=b&token=se%2Bcret"],
)
def test_a_token_in_query_or_fragment_moves_into_the_header(url):
    address = parse_url(url)
    assert (address.url, address.token) == ("ws://h/?x=1&frames=binary", "se+cret")
    assert "se+cret" not in repr(address)


@pytest.mark.parametrize("fragment", ["a&b+c=d#e/f?g", "a%26b%2Bc%3Dd%23e%2Ff%3Fg"], ids=["as it is", "as printed"])
def test_a_token_behind_the_hash_is_read_whole(fragment):
    assert parse_url(f"http://h/#token={fragment}").token == "a&b+c=d#e/f?g"


def test_an_explicit_token_and_server_win_over_the_url():
    address = parse_url("ws://h/?token=old&server=old#token=older", token="new", server="7-a b&c")
    assert (address.token, address.url) == ("new", "ws://h/?server=7-a%20b%26c&frames=binary")


@pytest.mark.parametrize("url", ["", "h:80", "ftp://h/", "ws:///x", "ws://h:99999/", "ws://h:x/", "ws://[::1/"])
def test_an_address_that_cannot_be_one_is_refused(url):
    with pytest.raises(ConfigurationError, match="URL"):
        connect(url)


@pytest.mark.parametrize("token", ["a b", "a\r\nX-Evil: 1", "ü", ""])
def test_a_token_that_cannot_stand_in_a_header_is_refused(token):
    with pytest.raises(ConfigurationError, match="token"):
        connect("ws://127.0.0.1:1/", token=token)


@pytest.mark.parametrize(
    ("host", "expected"), [("localhost", True), ("127.8.9.1", True), ("[::1]", True), ("example.com", False)]
)
def test_loopback_is_known(host, expected):
    assert parse_url(f"ws://{host}/").loopback is expected


def test_the_queue_is_bounded_and_counts_what_it_drops():
    queue = Publications(100)
    for counter in range(10):
        queue.append(collection(counter, {0: 2, 1: 1.0})[1:])
    assert len(queue) + queue.lost == 10
    assert queue.lost > 0
    assert message_counter(queue.popleft()) == queue.lost
    queue.append(msgpack.packb({9: 20, 2: "x" * 500}))
    assert len(queue) == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({0: 7, 9: 1, 2: [{0: 9}, {0: 2}, {0: 9}]}, {0: 7, 9: 1, 2: [{0: 2}]}),
        ({2: [{0: 9, 2: [1, {0: 2}]}], 9: 1}, {2: [], 9: 1}),
        ({0: 7, 2: [{0: 2}] * 20, 7: "x"}, {0: 7, 2: [{0: 2}] * 20, 7: "x"}),
        ({0: 2, 1: 5.0}, {0: 2, 1: 5.0}),
        ({0: 6, 2: {"count": 1}}, {0: 6, 2: {"count": 1}}),
        ({0: 7, 2: [1, 2]}, {0: 7, 2: [1, 2]}),
        ({0: 7, 2: [{0: [1]}]}, {0: 7, 2: [{0: [1]}]}),
    ],
)
def test_thinning_leaves_out_events_of_other_kinds_and_nothing_else(message, expected):
    packed = msgpack.packb(message)
    assert msgpack.unpackb(thinned(packed, {2}), strict_map_key=False) == expected
    for cut in range(len(packed)):
        assert packed[:cut].startswith(thinned(packed[:cut], {2})[:1])


@pytest.mark.parametrize(
    ("message", "counter"),
    [
        (msgpack.packb({0: 7, 9: 4, 2: []}), 4),
        (msgpack.packb({2: [{9: 1}], 9: 5}), 5),
        (msgpack.packb({0: 7}), None),
        (msgpack.packb({9: "x"}), None),
        (msgpack.packb([9, 9]), None),
        (b"\x81\x09", None),
        (b"\xc1", None),
        (b"", None),
    ],
)
def test_the_counter_is_read_without_the_events(message, counter):
    assert message_counter(message) == counter


def ours(counter: int) -> bytes:
    return msgpack.packb({0: 7, 1: 1.0, 9: counter, 2: [{0: 9}]})


def of_ruby(counter: int) -> bytes:
    return msgpack.packb({0: 7, 1: 1.0, 2: [{0: 9, 9: 9}], 9: counter})


@pytest.mark.parametrize("make", [ours, of_ruby])
@pytest.mark.parametrize("start", [0, 120, 250, 65_530, 2**32 - 5])
def test_lost_messages_are_missing_in_the_counters(make, start):
    gaps = Gaps()
    assert gaps.before(make(start)) == 0, "what was before the first is nobody's loss"
    for counter in range(start + 1, start + 20):
        assert message_counter(make(counter)) == counter
        assert gaps.before(memoryview(make(counter))) == 0
    assert gaps.before(make(start + 25)) == 5
    assert gaps.before(msgpack.packb({0: 7})) == 0
    assert gaps.before(make(start + 26)) == 0
    assert gaps.before(make(0)) == 0, "the server has started again"
    assert gaps.before(make(2)) == 1


@pytest.mark.parametrize("counter", [2**63, 2**64 - 1, -1, 10**12, True, None, "x"])
def test_a_counter_that_cannot_be_is_no_loss(counter):
    gaps = Gaps()
    gaps.before(ours(1))
    assert gaps.before(ours(counter)) == 0
    assert gaps.before(of_ruby(counter)) == 0


def test_the_recordings_have_their_counters():
    for recording in RECORDINGS.values():
        told = msgpack.unpackb(recording, strict_map_key=False, raw=True).get(9)
        assert message_counter(recording) == told
