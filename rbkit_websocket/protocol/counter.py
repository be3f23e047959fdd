"""What the counters of published messages tell: how many were lost on the way. No I/O."""

from __future__ import annotations

from typing import Final

from .codec import DOUBLE, UNREADABLE, pack, reader
from .constants import EventType, Field

__all__ = ["Gaps", "message_counter"]

# A server that starts again counts anew; one that jumps by more than this is another one, or lies.
_MOST_LOST: Final = 10**9

_KEY: Final = bytes((Field.MESSAGE_COUNTER,))
# {event_type: event_collection, timestamp: a double, message_counter: ...}, as the embedded server begins a message.
_HEAD: Final = bytes((Field.EVENT_TYPE, EventType.EVENT_COLLECTION, Field.TIMESTAMP)) + DOUBLE
_AT: Final = 14
_WIDTHS: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}

_SEARCHED: Final = 1024 * 1024  # bytes of a message that begins otherwise: looking for it copies the message


def message_counter(message: bytes | memoryview) -> int | None:
    """The message counter of a publication, read without decoding its events; None where there is none."""
    if message[1:5] == _HEAD and message[_AT - 1 : _AT] == _KEY and len(message) > _AT:
        first = message[_AT]
        if first < 0x80:
            return first
        if (width := _WIDTHS.get(first)) and len(message) > _AT + width:
            return int.from_bytes(message[_AT + 1 : _AT + 1 + width], "big")
    return _search(message) if len(message) <= _SEARCHED else None


def _search(message: bytes | memoryview) -> int | None:
    unpacker = reader(message)
    try:
        for _ in range(unpacker.read_map_header()):
            if unpacker.unpack() == Field.MESSAGE_COUNTER:
                counter = unpacker.unpack()
                return counter if isinstance(counter, int) else None
            unpacker.skip()
    except UNREADABLE:
        return None  # whoever decodes the message says what is wrong with it
    return None


class Gaps:
    """Finds the messages that are missing between those that come."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._expected_end = b""

    def before(self, message: bytes | memoryview) -> int:
        """How many were lost between the last message and this one."""
        last, end = self._last, self._expected_end
        # The Ruby server puts the counter behind the events: whoever expects it there need not walk through those.
        counter = last + 1 if last is not None and message[-len(end) :] == end else message_counter(message)
        if counter is None or not 0 <= counter < 1 << 63:
            return 0
        self._last = counter
        self._expected_end = _KEY + pack(counter + 1)
        # A counter that falls is a server that started again: nothing of it is lost.
        missing = 0 if last is None else counter - last - 1
        return missing if 0 < missing <= _MOST_LOST else 0
