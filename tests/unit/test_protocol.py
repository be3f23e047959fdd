"""Codec, envelope and messages against what real Rbkit servers sent, and against bytes that nobody should send."""

from __future__ import annotations

import random
import re
import urllib.parse
from typing import Any

import msgpack
import pytest
from support.program import run
from support.standin import ALL_BYTES, RECORDINGS, StandIn, snapshot

from rbkit_websocket.client.publications import thinned
from rbkit_websocket.errors import ProtocolError
from rbkit_websocket.protocol import codec, constants, envelope
from rbkit_websocket.protocol.codec import Packer, memory, pack, unpack
from rbkit_websocket.protocol.constants import EventType, Field
from rbkit_websocket.protocol.messages import decode_answer, decode_publication

# A reader of the MessagePack types themselves: what the old browser clients' decoder would meet.

SIZES = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
EXT = (0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8)
MODERN = {0xC4: "bin8", 0xC5: "bin16", 0xC6: "bin32", 0xD9: "str8", 0xC1: "never used", **dict.fromkeys(EXT, "ext")}


def walk(data: bytes, at: int = 0) -> tuple[set[str], int]:
    """Names of the types in ``data`` that came after 2013, and where the value that starts at ``at`` ends."""
    code = data[at]
    at += 1
    if code in MODERN:
        return {MODERN[code]}, len(data)
    if code <= 0x7F or code >= 0xE0 or code in (0xC0, 0xC2, 0xC3):
        return set(), at
    if code in SIZES:
        return set(), at + SIZES[code]
    if 0xA0 <= code <= 0xBF:
        return set(), at + (code & 0x1F)
    if code in (0xDA, 0xDB):
        width = 2 if code == 0xDA else 4
        return set(), at + width + int.from_bytes(data[at : at + width], "big")
    if code in (0xDC, 0xDD, 0xDE, 0xDF):
        width = 2 if code in (0xDC, 0xDE) else 4
        count = int.from_bytes(data[at : at + width], "big") * (2 if code >= 0xDE else 1)
        at += width
    else:
        count = (code & 0x0F) * (2 if code <= 0x8F else 1)
    found: set[str] = set()
    for _ in range(count):
        inner, at = walk(data, at)
        found |= inner
    return found, at


def test_the_reader_of_types_knows_modern_ones() -> None:
    assert walk(msgpack.packb("x" * 40)) == ({"str8"}, 42)
    assert walk(msgpack.packb([b"x"])) == ({"bin8"}, 4)


TEXTS = ["", "x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 65535, "x" * 65536, "ä" * 100, "\udcff lone", "\0"]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("packed", [pack, lambda value: Packer().pack(value)], ids=["pack", "Packer"])
def test_only_the_old_raw_types_are_written(text: str, packed: Any) -> None:
    value = {0: text, "key " * 20: [text.encode("utf-8", "surrogatepass"), None, True, 1.5, -1, 2**64 - 1]}
    data = packed(value)
    assert walk(data) == (set(), len(data))


def test_a_packer_may_be_used_again() -> None:
    packer = Packer()
    assert [packer.pack({1: "a" * 40}), packer.pack([None])] == [pack({1: "a" * 40}), pack([None])]


@pytest.mark.parametrize("value", [None, True, 0, 2**64 - 1, -(2**63), 1.25, "", "ä", [], {}, {0: {"a": [1, None]}}])
def test_round_trip(value: Any) -> None:
    assert unpack(pack(value)) == value


def test_lone_surrogates_are_written_as_escapes() -> None:
    assert unpack(pack("a\ud800b")) == "a\\ud800b"


def test_bytes_that_are_no_text_survive_reading() -> None:
    assert unpack(pack(b"\xff\xfe")).encode("utf-8", "surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize("value", [b"caf\xc3\xa9", "café"])
def test_both_ages_of_strings_are_read(value: Any) -> None:
    assert unpack(msgpack.packb(value, use_bin_type=False)) == "café"
    assert unpack(msgpack.packb("café", use_bin_type=True)) == "café"


# Hostile bytes

HOSTILE = {
    "empty": b"",
    "cut off": pack({0: 7, 1: 1.0, 2: []})[:-1],
    "trailing": pack({0: 7}) + b"\0",
    "never used": b"\xc1",
    "huge array": b"\xdd\xff\xff\xff\xff",
    "huge string": b"\xdb\xff\xff\xff\xff",
    "huge map": b"\xdf\xff\xff\xff\xff",
    "deep": b"\x91" * 100_000 + b"\xc0",
    "deep within limits": b"\x91" * 900 + b"\xc0",
    "list as key": b"\x81\x90\xc0",
    "map as key": b"\x81\x80\xc0",
    "bad timestamp": b"\xd7\xff" + b"\xff" * 8,
    "timestamp of odd length": b"\xc7\x03\xff\0\0\0",
    "ext": b"\xd4\x05\0",
    "text": b"ok",
    "number": b"\x07",
    "map without type": pack({1: 2}),
    "nil type": pack({0: None}),
    "list as type": pack({0: [1]}),
    "string type": pack({0: "7"}),
    "payload is no list": pack({0: 7, 2: 5}),
    "no payload": pack({0: 7}),
    "event is no map": pack({0: 7, 2: [5]}),
    "event without type": pack({0: 7, 2: [{1: 5}]}),
    "list as event type": pack({0: 7, 2: [{0: []}]}),
    "text as time": pack({0: 7, 1: "noon", 2: []}),
    "list as time": pack({0: 7, 1: [1], 2: []}),
    "map as event time": pack({0: 7, 1: 1.0, 2: [{0: 2, 1: {0: 1}}]}),
    "deep event": b"\x82\x00\x07\x02\x91\x82\x00\x06\x02" + b"\x91" * 900 + b"\xc0",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_publications_raise_nothing_but_protocol_errors(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_publication(data)


UNREADABLE = ["empty", "cut off", "trailing", "never used", "huge array", "deep", "list as key", "map as key"]


@pytest.mark.parametrize("name", [*UNREADABLE, "bad timestamp", "timestamp of odd length"])
def test_what_is_not_one_value_is_a_protocol_error(name: str) -> None:
    with pytest.raises(ProtocolError):
        unpack(HOSTILE[name])


@pytest.mark.parametrize("read", [unpack, decode_publication, decode_answer])
def test_random_bytes_raise_nothing_but_protocol_errors(read: Any) -> None:
    chance = random.Random(20)
    for _ in range(5000):
        data = chance.randbytes(chance.randrange(40))
        try:
            read(data)
        except ProtocolError:
            pass


@pytest.mark.parametrize("name", [name for name in RECORDINGS if "dump" not in name])
def test_damaged_recordings_raise_nothing_but_protocol_errors(name: str) -> None:
    chance = random.Random(21)
    for _ in range(2000):
        data = bytearray(RECORDINGS[name])
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decode_publication(bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.3 else data))
        except ProtocolError:
            pass


# Recordings


@pytest.mark.smoke
def test_every_recording_is_one_event_in_a_collection(recording: bytes) -> None:
    found = decode_publication(recording)
    assert len(found.events) == 1
    assert 1.3e12 < found.timestamp < 1.6e12
    assert isinstance(found.events[0].type, EventType)


def only_event(name: str) -> Any:
    return decode_publication(RECORDINGS[name]).events[0]


def test_cpu_sample() -> None:
    event = only_event("cpu_sample")
    assert event.type is EventType.CPU_SAMPLE
    frame = event.payload[0]
    assert frame["method_name"] == "process_incoming_request"
    assert frame["label"] == "Rbkit::Server#process_incoming_request"
    assert frame["file"].endswith("server.rb")
    assert (frame["line"], frame["singleton_method"]) == (0x35, 0)
    assert isinstance(frame["thread_id"], int)


def test_object_events() -> None:
    created, destroyed = only_event("obj_created"), only_event("obj_destroyed")
    assert (created.type, destroyed.type) == (EventType.OBJ_CREATED, EventType.OBJ_DESTROYED)
    assert created.payload == {"object_id": 0x7F879309D090, "class_name": "Array"}
    assert destroyed.payload == {"object_id": 0x7F879309FF98}
    assert decode_publication(RECORDINGS["obj_created"]).counter == 0x4A


def test_gc_events() -> None:
    assert (only_event("gc_start").type, only_event("gc_start").payload) == (EventType.GC_START, None)
    stats = only_event("gc_stats").payload
    assert stats["count"] == 5
    assert stats["heap_live_slot"] == 0x7DCB
    assert all(isinstance(key, str) for key in stats)


def test_a_dump_of_before_it_was_split() -> None:
    event = only_event("object_space_dump_v1")
    assert event.type is EventType.OBJECT_SPACE_DUMP
    assert len(event.payload) == 0x4E11
    assert event.payload[0] == {"object_id": 0x7FA7920C77B8, "class_name": "vm", "references": []}
    assert event.extra == {}


def test_a_dump_in_parts() -> None:
    events = [decode_publication(part).events[0] for part in snapshot(3, 2500)]
    assert [len(event.payload) for event in events] == [1000, 1000, 500]
    assert {event.extra["correlation_id"] for event in events} == {3}
    assert {event.extra["complete_message_count"] for event in events} == {2500}


def test_unknown_types_keys_and_fields_are_kept() -> None:
    message = pack({0: 7, 1: 1.0, 9: 3, 77: "x", 2: [{0: 99, 1: 2.0, 2: {3: 1, 88: "y", "z": None}, 55: 1}]})
    found = decode_publication(message)
    assert (found.counter, found.events[0].type) == (3, 99)
    assert found.events[0].payload == {"object_id": 1, 88: "y", "z": None}
    assert found.events[0].extra == {55: 1}


def test_a_bare_event_is_a_collection_of_one() -> None:
    found = decode_publication(pack({0: 2, 1: 5.0}))
    assert (found.counter, found.timestamp, [event.type for event in found.events]) == (None, 5.0, [EventType.GC_START])


@pytest.mark.parametrize("counter", [None, "7", [7]])
def test_a_counter_that_is_no_number_counts_nothing(counter: Any) -> None:
    assert decode_publication(pack({0: 7, 1: 1, 9: counter, 2: []})).counter is None


def test_an_empty_collection() -> None:
    assert decode_publication(pack({0: 7, 1: 1, 9: 0, 2: []})).events == ()


# Answers


@pytest.mark.parametrize("answer", [b"ok", b"", b"o", "échec".encode(), b"\xff", b"\x90"])
def test_answers_that_are_no_map_are_bytes(answer: bytes) -> None:
    assert decode_answer(answer) == answer


def test_the_handshake() -> None:
    with StandIn() as server:
        answer = decode_answer(server.handshake())
    assert isinstance(answer, dict)
    assert answer["event_type"] == EventType.HANDSHAKE
    assert answer["payload"]["rbkit_protocol_version"] == "2.1"


@pytest.mark.parametrize("size", [1, 15, 16, 70_000])
def test_maps_of_every_width_are_answers(size: int) -> None:
    assert decode_answer(pack({str(number): number for number in range(size)})) == {
        str(number): number for number in range(size)
    }


def test_an_answer_that_only_looks_like_a_map_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        decode_answer(b"\x81")


# Envelope


def javascript_unescape(text: str) -> bytes:
    """JavaScript's ``unescape()``: leaves ``+`` alone."""
    out = re.sub(
        r"%u([0-9a-fA-F]{4})|%([0-9a-fA-F]{2})",
        lambda match: chr(int(match[1] or match[2], 16)),
        text,
    )
    return out.encode("latin-1")


def cgi_unescape(text: str) -> bytes:
    """Ruby's ``CGI.unescape``: reads ``+`` as a space."""
    return urllib.parse.unquote_to_bytes(text.replace("+", " "))


SAMPLES = {"all": ALL_BYTES, "space": b"a b", "plus": b"a+b", "percent": b"100%41", "empty": b"", **RECORDINGS}


@pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("decode", [javascript_unescape, cgi_unescape, envelope.unescape])
def test_every_decoder_in_the_field_reads_what_is_escaped(data: bytes, decode: Any) -> None:
    assert decode(envelope.escape(data).decode("ascii")) == data


def test_neither_space_nor_plus_stands_for_itself() -> None:
    assert envelope.escape(b" +") == b"%20%2B"
    assert set(envelope.escape(ALL_BYTES)) <= set(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~%"
    )


def test_what_the_ruby_middleware_escapes_is_read() -> None:
    assert envelope.unescape("ok+%C3%A9%2B%20") == b"ok \xc3\xa9+ "
    assert envelope.unescape(b"0ok") == b"0ok"


@pytest.mark.parametrize("text", ["%", "%4", "%zz", "%u0041", "é", "\udcff"])
def test_what_is_not_escaped_properly_is_read_somehow(text: str) -> None:
    assert isinstance(envelope.unescape(text), bytes)


def test_slices_join_to_the_whole() -> None:
    data = ALL_BYTES * 1024
    slices = list(envelope.escape_slices(data))
    assert len(slices) == len(data) // envelope.SLICE
    assert b"".join(slices) == envelope.escape(data)
    assert list(envelope.escape_slices(b"")) == []


@pytest.mark.parametrize(("frame", "parts"), [(b"0ok", (b"0", b"ok")), (b"1", (b"1", b"")), (b"1\0", (b"1", b"\0"))])
def test_frames_are_split(frame: bytes, parts: tuple[bytes, bytes]) -> None:
    assert envelope.split(frame) == parts


@pytest.mark.parametrize("frame", [b"", b"2ok", b"ok", b"\0"])
def test_frames_of_no_channel_are_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        envelope.split(frame)


def test_notices() -> None:
    assert (envelope.client_count(2), envelope.dropped(17)) == ("0client_count:2", "0dropped:17")


# Constants: the numbers that every client in the field has built in


def test_the_numbers_of_the_protocol() -> None:
    names = "event_type timestamp payload object_id class_name references file line size message_counter "
    names += "correlation_id complete_message_count method_name label singleton_method thread_id class_file class_line"
    assert " ".join(field.name.lower() for field in sorted(Field)) == names
    assert list(map(int, Field)) == list(range(18))
    assert list(map(int, EventType)) == list(range(10))
    assert [EventType.EVENT_COLLECTION, EventType.HANDSHAKE, EventType.CPU_SAMPLE] == [7, 8, 9]
    assert (constants.PROTOCOL_VERSION, constants.SUBPROTOCOL, constants.OK) == ("2.1", "rbkit", b"ok")
    assert (constants.PORT_RANGE[0], constants.PORT_RANGE[-1]) == (1024, 65000)
    assert (constants.DEFAULT_PUB_PORT, constants.DEFAULT_REQ_PORT) == (5555, 5556)


def test_the_stand_in_speaks_the_old_types() -> None:
    with StandIn() as server:
        answer = server.handshake()
    assert walk(answer) == (set(), len(answer))


def test_integers_in_an_extensions_answer_are_what_they_are() -> None:
    assert decode_answer(pack({"threads": {1: "worker", 15: "other"}})) == {"threads": {1: "worker", 15: "other"}}


MIB = 1024 * 1024
# Short values that take ten times as much and more once they are read, and what hides them.
EXPANDING = {
    "empty maps": b"\xdd" + MIB.to_bytes(4, "big") + b"\x80" * MIB,
    "maps of nothing": b"\x9f" * 100 + b"\x81\xc0\xc0" * MIB,
    "empty lists behind a text": b"\xdb" + MIB.to_bytes(4, "big") + b"x" * MIB + b"\x90" * MIB,
    "short texts": b"\xa2ab" * MIB,
    "numbers": b"\xcd\x40\x00" * MIB,
    "events": b"\x82\x00\x07\x02\xdd" + MIB.to_bytes(4, "big") + b"\x81\x00\x02" * MIB,
}


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_MOST_MEMORY", 16 * MIB)
    monkeypatch.setattr(codec, "_SAFE", 16 * MIB // 296)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", EXPANDING)
def test_a_message_that_takes_much_more_than_its_bytes_is_not_read(name: str) -> None:
    data = EXPANDING[name]
    for read in (unpack, decode_publication):
        with pytest.raises(ProtocolError, match="more than 16 MiB"):
            read(data)
    assert thinned(data, [2]) is data, "nothing is looked for in it"


def test_a_client_refuses_what_would_take_gigabytes() -> None:
    with pytest.raises(ProtocolError, match=r"67108864 bytes whose values take more than 512 MiB"):
        unpack(b"\xdd" + (64 * MIB - 5).to_bytes(4, "big") + b"\x80" * (64 * MIB - 5))


@pytest.mark.usefixtures("little_memory")
def test_long_messages_of_real_servers_are_read() -> None:
    objects = [
        {4: number * 8, 5: f"Class{number % 50}", 6: [2**40 + number * 8 + step for step in range(8)], 7: "/a/path.py"}
        for number in range(12_000)
    ]
    message = pack({0: 5, 1: 1.0, 2: objects})
    assert len(message) > MIB
    assert unpack(message)[2] == objects
    numbers = list(range(2**40, 2**40 + 300_000))
    assert unpack(pack(numbers)) == numbers
    assert unpack(pack(["x" * (15 * MIB)])) == ["x" * (15 * MIB)]


ESTIMATED = r"""
import tracemalloc
from rbkit_websocket.protocol.codec import memory, unpack
for data in (b"\x80", b"\x81\xc0\xc0", b"\x85" + bytes(range(10)), b"\x90", b"\xa2ab", b"\xcd\x40\x00"):
    tracemalloc.start()
    values = unpack(b"\xdd" + (10_000).to_bytes(4, "big") + data * 10_000)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(values) == 10_000
    assert 0 < taken < memory(data * 10_000, 1 << 40) * 1.02, data
"""


def test_what_is_estimated_is_no_less_than_what_is_taken() -> None:
    # In a process of its own: CPython 3.13.0 keeps tracemalloc's hook for references after its end.
    result = run(ESTIMATED)
    assert result.returncode == 0, result.stderr


def test_every_type_is_stepped_over() -> None:
    """Behind each value stands the next: together they take what they take one by one."""
    sizes = (0, 1, 2, 4, 8, 16, 31, 32, 255, 256, 65_535, 65_536)
    values: list[Any] = [None, True, 1, 200, 60_000, 2**31, 2**63, -1, -100, -30_000, -(2**31), -(2**63), 1.5]
    values += [kind * size for size in sizes for kind in ("x", b"x", [7])]
    values += [msgpack.ExtType(5, b"x" * size) for size in sizes] + [dict.fromkeys(range(size)) for size in sizes]
    packed = [msgpack.packb(value) for value in values] + [msgpack.packb(1.5, use_single_float=True)]
    single = [memory(data, 1 << 40) for data in packed]
    assert min(single) > 0
    assert memory(b"".join(packed), 1 << 40) == sum(single)
    for data in packed:  # cut off anywhere: no error of this one
        memory(data[:-1], 1 << 40)
