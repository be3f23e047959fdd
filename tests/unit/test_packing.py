"""What is put together from packed parts has the bytes of the whole, packed in one go by somebody else's packer."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from types import CodeType
from typing import Any

import msgpack
import pytest

from rbkit_websocket.profilers.cpu.events import SampleEvents
from rbkit_websocket.profilers.cpu.fold import PlainStack, fold_plainly
from rbkit_websocket.profilers.cpu.sampler import Sample
from rbkit_websocket.protocol import codec
from rbkit_websocket.protocol.codec import pack_map
from rbkit_websocket.protocol.constants import EventType
from rbkit_websocket.protocol.packing import created_event, destroyed_event, dump_event, event
from rbkit_websocket.server.publisher import Publisher
from rbkit_websocket.system.clock import time

NOW = 1_700_000_000.25
SIZES = (0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536)


def whole(value: Any) -> bytes:
    """With the raw types of the old specification."""
    packed: bytes = msgpack.packb(value, use_bin_type=False)
    return packed


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: NOW)
        yield


@pytest.mark.parametrize("kind", EventType)
@pytest.mark.parametrize("milliseconds", [0.0, -1.5, NOW * 1000])
def test_an_event(kind: EventType, milliseconds: float) -> None:
    assert event(kind, milliseconds) == whole({0: int(kind), 1: milliseconds})
    payload = {"count": 7, "gc_time_ms": 0.25}
    assert event(kind, milliseconds, payload) == whole({0: int(kind), 1: milliseconds, 2: payload})


def test_objects_that_come_and_go() -> None:
    identity = 1 << 45
    assert created_event(5.5, identity, whole("app.User")) == whole({0: 0, 1: 5.5, 2: {3: identity, 4: "app.User"}})
    assert created_event(5.5, identity, whole(None)) == whole({0: 0, 1: 5.5, 2: {3: identity, 4: None}})
    assert destroyed_event(5.5, identity) == whole({0: 1, 1: 5.5, 2: {3: identity}})


@pytest.mark.parametrize("count", SIZES)
def test_a_dump(count: int) -> None:
    objects = [{3: 1 << 40, 4: "dict", 5: [], 8: 64}] * count
    found = dump_event(NOW * 1000, 3, 70_000, count, b"".join(map(whole, objects)))
    assert found == whole({0: 5, 1: NOW * 1000, 10: 3, 11: 70_000, 2: objects})


@pytest.mark.parametrize("count", SIZES)
def test_a_publication(count: int) -> None:
    sent: list[bytes] = []
    publisher = Publisher(sent.append)
    publisher.counter = count
    events = [{0: 2, 1: 5.5}] * count
    publisher.publish([event(EventType.GC_START, 5.5)] * count)
    assert sent == [whole({0: 7, 1: NOW * 1000, 9: count, 2: events})]


@pytest.mark.parametrize("depth", [1, 15, 16, 300])
@pytest.mark.parametrize("request_name", [None, "GET /users/<id>"])
def test_a_sample(depth: int, request_name: str | None) -> None:
    code: CodeType = test_a_sample.__code__
    label = getattr(code, "co_qualname", code.co_name)
    request = type("Named", (), {"name": request_name})() if request_name is not None else None
    sample = Sample(1000.5, 1 << 45, (code, 0) * depth, 2000.0, 0.0, 1, request, False)
    frame = {12: code.co_name, 13: label, 6: code.co_filename, 7: code.co_firstlineno, 14: 1, 15: 1 << 45}
    frames = [frame] * depth
    if request_name is not None:
        frames.append({12: request_name, 13: request_name, 6: "", 7: 0, 14: 0, 15: 1 << 45})
    expected = [whole({0: 9, 1: at, 2: frames}) for at in (999.5, 1000.5)]
    assert SampleEvents().pack([sample], 1000, "wall") == expected


@pytest.mark.parametrize("count", SIZES)
def test_a_map_whose_values_are_packed_already(count: int) -> None:
    values = {"cursor": count, "note": None}
    found = pack_map(values, stacks=whole([1] * count))
    assert found == whole({**values, "stacks": [1] * count})


def test_folded_samples() -> None:
    code = test_folded_samples.__code__
    stack = PlainStack(7, (code, 0))
    frames, stacks, threads = fold_plainly([[(stack, "GET /", 10, 5, 1, False)] * 2], True)
    line = code.co_firstlineno
    assert frames == whole([[code.co_name, getattr(code, "co_qualname", code.co_name), code.co_filename, line, line]])
    entry = {"wall_us": 20, "cpu_us": 10, "weight_us": 10, "waiting": False, "count": 2, "thread": 7}
    assert stacks == whole([{**entry, "request": "GET /", "frames": [0]}])
    assert threads == {7}


def test_nothing_is_written_that_old_decoders_do_not_know() -> None:
    long = "x" * 40
    assert codec.pack(long) == b"\xda" + struct.pack(">H", 40) + long.encode()
