"""What the clients that were written for the Ruby server make of a message, faults included."""

from __future__ import annotations

import struct
from typing import Any, Final

import msgpack


def read_in_browser(data: bytes) -> Any:
    """A whole message, as the decoder of the original browser client reads it.

    That looks at the upper half of a double first, and forgets the lower one where the upper half alone tells the
    value: 0.0, what is nearly 0, infinities and NaN. What follows is garbage then.

    Raises:
        ValueError: bytes are left over, or are missing, or there is a type that it does not know.
    """
    reader = _Reader(data)
    value = reader.value()
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes left over")
    return value


_FIXED: Final = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS: Final = {0xCA: "f", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q"}
_RAW, _LIST, _MAP = range(3)
_SIZED: Final = {
    0xDA: (_RAW, "H"),
    0xDB: (_RAW, "I"),
    0xDC: (_LIST, "H"),
    0xDD: (_LIST, "I"),
    0xDE: (_MAP, "H"),
    0xDF: (_MAP, "I"),
}


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def _take(self, count: int) -> bytes:
        piece = self._data[self.at : self.at + count]
        if len(piece) < count:
            raise ValueError(f"{count - len(piece)} bytes are missing")
        self.at += count
        return piece

    def _number(self, layout: str) -> Any:
        return struct.unpack(f">{layout}", self._take(struct.calcsize(layout)))[0]

    def _double(self) -> float:
        upper = self._number("I")
        if not upper & 0x7FFFFFFF or upper & 0x7FF00000 == 0x7FF00000:
            return 0.0
        return float(struct.unpack(">d", struct.pack(">I", upper) + self._take(4))[0])

    def _sized(self, kind: int, count: int) -> Any:
        if kind == _RAW:
            return self._take(count)
        if kind == _LIST:
            return [self.value() for _ in range(count)]
        return {self.value(): self.value() for _ in range(count)}

    def value(self) -> Any:
        kind = self._take(1)[0]
        if kind < 0x80 or kind >= 0xE0:
            return kind if kind < 0x80 else kind - 256
        if kind < 0xC0:
            short = _MAP if kind < 0x90 else _LIST if kind < 0xA0 else _RAW
            return self._sized(short, kind & (31 if short == _RAW else 15))
        if kind in _FIXED:
            return _FIXED[kind]
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == 0xCB:
            return self._double()
        if kind in _SIZED:
            sized, layout = _SIZED[kind]
            return self._sized(sized, self._number(layout))
        raise ValueError(f"unknown type {kind:#x}")


def desktop_objects(objects: bytes) -> list[dict[int, Any]]:
    """Packed objects of a dump, one behind the other, as the desktop client reads them: up to the first nil of each."""
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=False,
        unicode_errors="surrogateescape",
        max_buffer_size=0,
        object_pairs_hook=_until_nil,
    )
    unpacker.feed(objects)
    return list(unpacker)


def _until_nil(pairs: list[tuple[int, Any]]) -> dict[int, Any]:
    fields = {}
    for key, value in pairs:
        if value is None:
            break
        fields[key] = value
    return fields
