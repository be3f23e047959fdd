"""Messages of the Rbkit protocol as Python objects, tolerant towards every age of server.

Fields and keys that are not known are kept or ignored, never refused: that is how a server adds information of its
own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ProtocolError
from .codec import unpack
from .constants import EventType, Field

__all__ = ["Collection", "Event", "decode_answer", "decode_publication", "named"]

_NAMES: dict[int, str] = {int(field): field.name.lower() for field in Field}


@dataclass(frozen=True)
class Event:
    """One event of a publication.

    Attributes:
        type: the event type; an int that :class:`EventType` does not know stays an int.
        timestamp: wall-clock milliseconds since the epoch.
        payload: what the event carries, integer keys replaced by their names: a map for ``OBJ_CREATED``,
            ``OBJ_DESTROYED`` and ``GC_STATS``, a list of frames for ``CPU_SAMPLE``, a list of objects for
            ``OBJECT_SPACE_DUMP``, None for the gc phases.
        extra: the event's other fields by name (``correlation_id``, ``complete_message_count``).
    """

    type: int
    timestamp: float
    payload: Any
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class Collection:
    """One published message: ``counter`` rises by one from message to message, a gap means lost ones."""

    counter: int | None
    timestamp: float
    events: tuple[Event, ...]


# Events are three levels deep; what is far deeper was made to exhaust the stack of whoever walks through it.
_MAX_DEPTH = 50


def named(value: Any, depth: int = 0) -> Any:
    """``value`` with the integer keys of its maps replaced by the protocol's names; those that have none stay.

    Raises:
        ProtocolError: it is nested too deeply.
    """
    if depth > _MAX_DEPTH:
        raise ProtocolError("a message is nested too deeply")
    if isinstance(value, dict):
        return {
            _NAMES.get(key, key) if isinstance(key, int) else key: named(item, depth + 1) for key, item in value.items()
        }
    if isinstance(value, list):
        return [named(item, depth + 1) for item in value]
    return value


def _kind(raw: Any) -> int:
    kind = raw.get(Field.EVENT_TYPE) if isinstance(raw, dict) else None
    if not isinstance(kind, int):
        raise ProtocolError(f"an event is a map with an event type, not {type(raw).__name__}")
    return kind


def _time(raw: dict[Any, Any]) -> float:
    timestamp = raw.get(Field.TIMESTAMP) or 0.0
    if not isinstance(timestamp, (int, float)) or not math.isfinite(timestamp):
        raise ProtocolError(f"a timestamp is a finite number, not {timestamp!r:.40}")
    return float(timestamp)


def _event(raw: Any) -> Event:
    kind = _kind(raw)
    known = (Field.EVENT_TYPE, Field.TIMESTAMP, Field.PAYLOAD)
    return Event(
        type=EventType(kind) if kind in EventType._value2member_map_ else kind,
        timestamp=_time(raw),
        payload=named(raw.get(Field.PAYLOAD)),
        extra=named({key: value for key, value in raw.items() if key not in known}),
    )


def decode_publication(message: bytes) -> Collection:
    """One message of the PUB socket. A bare event (older servers) reads as a collection of one.

    Raises:
        ProtocolError: not MessagePack, or not a map with an event type.
    """
    raw = unpack(message)
    kind = _kind(raw)
    events = raw.get(Field.PAYLOAD) if kind == EventType.EVENT_COLLECTION else [raw]
    if not isinstance(events, list):
        raise ProtocolError("an event_collection carries a list of events")
    counter = raw.get(Field.MESSAGE_COUNTER)
    return Collection(counter if isinstance(counter, int) else None, _time(raw), tuple(map(_event, events)))


def decode_answer(message: bytes) -> bytes | dict[Any, Any]:
    """The answer to a command: the raw bytes of one that is not a MessagePack map (``b"ok"``), else the map.

    The map of a ``handshake`` has its integer keys replaced by names; its ``payload`` has string keys. The answers of
    extensions have string keys from the start, and integers in them (thread ids, say) are what they are.

    Raises:
        ProtocolError: it begins like a map and is none.
    """
    # The first byte tells: fixmap, map16 and map32 are no ASCII letters, so "ok" can not be mistaken for a map.
    if message and (0x80 <= message[0] <= 0x8F or message[0] in (0xDE, 0xDF)):
        value = unpack(message)
        return named(value) if Field.EVENT_TYPE in value else value  # type: ignore[no-any-return]
    return message
