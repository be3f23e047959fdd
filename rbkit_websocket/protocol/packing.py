"""What is published, as packed bytes: the messages and events of the protocol, and lists of what is packed already."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

from .codec import DOUBLE, UINT64, array_header, double, map_header, pack
from .constants import EventType, Field

__all__ = [
    "created_event",
    "destroyed_event",
    "dump_event",
    "event",
    "event_collection",
    "frame_head",
    "packed_list",
    "sample_event",
    "sample_frames",
]


def _start(fields: int, kind: EventType) -> bytes:
    """An event of that many fields up to its timestamp."""
    return map_header(fields) + pack(int(Field.EVENT_TYPE)) + pack(int(kind)) + pack(int(Field.TIMESTAMP))


_PAYLOAD: Final = pack(int(Field.PAYLOAD))
_CORRELATION: Final = pack(int(Field.CORRELATION_ID))
_TOTAL: Final = pack(int(Field.COMPLETE_MESSAGE_COUNT))
_COUNTER: Final = pack(int(Field.MESSAGE_COUNTER))
_OBJECT: Final = pack(int(Field.OBJECT_ID)) + UINT64
_CLASS: Final = pack(int(Field.CLASS_NAME))
_THREAD: Final = pack(int(Field.THREAD_ID))
_HEADS: Final = {kind: tuple(_start(fields, kind) for fields in (2, 3)) for kind in EventType}
_SAMPLE: Final = _start(3, EventType.CPU_SAMPLE)
_DUMP: Final = _start(5, EventType.OBJECT_SPACE_DUMP)
_COLLECTION: Final = _start(4, EventType.EVENT_COLLECTION)

_CREATED: Final = _start(3, EventType.OBJ_CREATED) + DOUBLE, _PAYLOAD + map_header(2) + _OBJECT, _CLASS
_DESTROYED: Final = _start(3, EventType.OBJ_DESTROYED) + DOUBLE, _PAYLOAD + map_header(1) + _OBJECT
# One packing an object: thousands come and go in a second.
_CREATED_AT: Final = struct.Struct(">{}sd{}sQ{}s".format(*map(len, _CREATED)))
_DESTROYED_AT: Final = struct.Struct(">{}sd{}sQ".format(*map(len, _DESTROYED)))


def packed_list(values: Sequence[bytes]) -> bytes:
    """A list of values that are packed already."""
    return array_header(len(values)) + b"".join(values)


def event(kind: EventType, milliseconds: float, payload: Any = None) -> bytes:
    """``{0: kind, 1: milliseconds, 2: payload}``, without 2 when there is no payload."""
    bare, whole = _HEADS[kind]
    if payload is None:
        return bare + double(milliseconds)
    return whole + double(milliseconds) + _PAYLOAD + pack(payload)


def created_event(milliseconds: float, identity: int, packed_class: bytes) -> bytes:
    """An object has been made; its class's name is packed already, since there are few of them."""
    head, middle, end = _CREATED
    return _CREATED_AT.pack(head, milliseconds, middle, identity, end) + packed_class


def destroyed_event(milliseconds: float, identity: int) -> bytes:
    """An object has ended."""
    head, middle = _DESTROYED
    return _DESTROYED_AT.pack(head, milliseconds, middle, identity)


def sample_event(milliseconds: float, frames: bytes) -> bytes:
    """A CPU sample whose frames are packed already."""
    return _SAMPLE + double(milliseconds) + _PAYLOAD + frames


def sample_frames(heads: Iterable[bytes], thread: int) -> bytes:
    """The frames of a CPU sample: each of these with the thread."""
    frames = list(heads)
    return array_header(len(frames)) + pack(thread).join((*frames, b""))


def frame_head(name: str, label: str, file: str, line: int, singleton: int = 0) -> bytes:
    """All of a sample's frame but its last value, the thread."""
    keys = (Field.METHOD_NAME, Field.LABEL, Field.FILE, Field.LINE, Field.SINGLETON_METHOD)
    pairs = zip(keys, (name, label, file, line, singleton), strict=True)
    return map_header(6) + b"".join(pack(int(key)) + pack(value) for key, value in pairs) + _THREAD


def dump_event(milliseconds: float, correlation_id: int, total: int, count: int, objects: bytes) -> bytes:
    """``count`` packed objects out of ``total`` of a dump."""
    return b"".join(
        (
            *(_DUMP, double(milliseconds), _CORRELATION, pack(correlation_id), _TOTAL, pack(total)),
            *(_PAYLOAD, array_header(count), objects),
        )
    )


def event_collection(milliseconds: float, counter: int, events: Sequence[bytes]) -> bytes:
    """What is published: events, and how many have been published before."""
    head = (_COLLECTION, double(milliseconds), _COUNTER, pack(counter), _PAYLOAD, array_header(len(events)))
    return b"".join((*head, *events))
