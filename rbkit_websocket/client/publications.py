"""Publications that wait in a client for their reader: bounded, and every loss counted. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from sys import getsizeof
from typing import Any, Final

from ..protocol.codec import UNREADABLE, is_too_much, reader
from ..protocol.constants import Field
from ..protocol.counter import Gaps
from ..protocol.packing import packed_list

__all__ = ["Publications", "thinned"]


_PLACE: Final = 16  # bytes of a message's place in the queue, and of the allocator's rounding


def thinned(message: bytes, kinds: Collection[int]) -> bytes:
    """An ``event_collection`` with its events of these types only; anything else as it is.

    Events are not decoded: CPU samples come by the thousand a second, and most programs want the others.
    """
    if is_too_much(message):
        return message  # its reader refuses it
    unpacker = reader(message)
    kept: list[bytes] = []
    try:
        for _ in range(unpacker.read_map_header()):
            if unpacker.unpack() != Field.PAYLOAD:
                unpacker.skip()
                continue
            before = unpacker.tell()
            count = unpacker.read_array_header()
            for _ in range(count):
                start = unpacker.tell()
                kind = _kind(unpacker)
                if kind in kinds:
                    kept.append(message[start : unpacker.tell()])
            return b"".join([message[:before], packed_list(kept), message[unpacker.tell() :]])
    except UNREADABLE:
        pass  # no collection, or a broken one: decoding reports it
    return message


def _kind(unpacker: Any) -> Any:
    """The type of the event at which ``unpacker`` stands; afterwards it stands behind the event."""
    kind = None
    for _ in range(unpacker.read_map_header()):
        if unpacker.unpack() == Field.EVENT_TYPE:
            kind = unpacker.unpack()
        else:
            unpacker.skip()
    return kind


class Publications:
    """A queue of published messages that take at most ``limit`` bytes of memory: past that the oldest go.

    Attributes:
        lost: messages lost since the first one: gaps of the message counter, and messages that this queue dropped.
    """

    def __init__(self, limit: int) -> None:
        self.lost = 0
        self._limit = limit
        self._size = 0
        self._gaps = Gaps()
        self._messages: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def append(self, message: bytes) -> None:
        """Takes one message; the newest is always kept, however long it is."""
        self.lost += self._gaps.before(message)
        self._messages.append(message)
        self._size += getsizeof(message) + _PLACE
        while self._size > self._limit and len(self._messages) > 1:
            self.popleft()
            self.lost += 1

    def popleft(self) -> bytes:
        """The oldest message.

        Raises:
            IndexError: there is none.
        """
        message = self._messages.popleft()
        self._size -= getsizeof(message) + _PLACE
        return message
