"""MessagePack as the Rbkit clients read it.

The old browser clients' decoder knows neither ``str8`` nor ``bin``, so everything is packed with the raw types of
the old specification; every current reader understands those. Reading accepts both ages and never fails on a string
that is not UTF-8: such bytes become surrogate escapes.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import msgpack

from ..errors import ProtocolError

__all__ = [
    "DOUBLE",
    "UINT64",
    "UNREADABLE",
    "Packer",
    "array_header",
    "double",
    "figure",
    "is_too_much",
    "map_header",
    "memory",
    "pack",
    "pack_map",
    "reader",
    "unpack",
]

DOUBLE: Final = b"\xcb"
"""What a double of 8 bytes stands behind."""
UINT64: Final = b"\xcf"
"""What an integer of 8 bytes stands behind."""
UNREADABLE: Final = (ValueError, TypeError, msgpack.UnpackException)
"""What :func:`reader` raises for what is no MessagePack; TypeError: a list or map as key."""

_DOUBLE: Final = struct.Struct(">cd")

_MOST_MEMORY: Final = 512 * 1024 * 1024
"""Bytes that the values of one message may take: 64 MiB of a heap's objects and references take less."""

# What each type takes in CPython at most, beside the bytes of a text: 8 for its place in a list, and the object.
_PLACE: Final = 8
_NUMBER: Final = _PLACE + 32
_TEXT: Final = _PLACE + 64
_LIST: Final = _PLACE + 56
_MAP: Final = _PLACE + 64
# A map that is not empty has a table, a half of it unused, as long as the two values of each entry have places.
_TABLE: Final = 176
_ENTRY: Final = 48

_SAFE: Final = _MOST_MEMORY // (_MAP + _TABLE + _ENTRY)
"""Bytes of a message whose values never take more, whatever they are: a look at each would take longer than reading."""


def _steps() -> tuple[list[int], list[int], list[int]]:
    """By the first byte of a value (https://github.com/msgpack/msgpack/blob/master/spec.md): its bytes without those
    that a length tells; the bytes of that length; what it takes."""
    size, width, cost = [1] * 256, [0] * 256, [_PLACE] * 256
    for code in range(0x80, 0x90):
        cost[code] = _MAP + (_TABLE + _ENTRY * (code & 15) if code & 15 else 0)
    for code in range(0x90, 0xA0):
        cost[code] = _LIST
    for code in range(0xA0, 0xC0):
        size[code], cost[code] = 1 + (code & 31), _TEXT
    for code, more in zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True):
        size[code], cost[code] = 1 + more, _NUMBER
    for code, more in zip(range(0xD4, 0xD9), (1, 2, 4, 8, 16), strict=True):
        size[code], cost[code] = 2 + more, 2 * _TEXT
    for codes, extra, takes in (((0xC4, 0xC5, 0xC6), 1, _TEXT), ((0xC7, 0xC8, 0xC9), 2, 2 * _TEXT)):
        for code, bytes_ in zip(codes, (1, 2, 4), strict=True):
            size[code], width[code], cost[code] = extra, bytes_, takes
    for code, bytes_ in zip((0xD9, 0xDA, 0xDB), (1, 2, 4), strict=True):
        size[code], width[code], cost[code] = 1, bytes_, _TEXT
    for code, more, takes in ((0xDC, 2, _LIST), (0xDD, 4, _LIST), (0xDE, 2, _MAP), (0xDF, 4, _MAP)):
        size[code], cost[code] = 1 + more, takes
    return size, width, cost


_SIZE, _WIDTH, _COST = _steps()


def memory(data: bytes, most: int) -> int:
    """About how many bytes the values in ``data`` take once they are read, told without reading them.

    Args:
        data: MessagePack, or anything else.
        most: where to stop counting.
    """
    sizes, widths, costs = _SIZE, _WIDTH, _COST
    at, taken, end = 0, 0, len(data)
    while at < end and taken <= most:
        code = data[at]
        taken += costs[code]
        if width := widths[code]:
            at += width + int.from_bytes(data[at + 1 : at + 1 + width], "big")
        elif code in (0xDE, 0xDF):
            entries = int.from_bytes(data[at + 1 : at + sizes[code]], "big")
            taken += _TABLE + _ENTRY * min(entries, end - at) if entries else 0
        at += sizes[code]
    return taken + end


def is_too_much(data: bytes) -> bool:
    """Whether the values of a message take so much more than its bytes that it is not to be read."""
    return len(data) > _SAFE and memory(data, _MOST_MEMORY) > _MOST_MEMORY


class Packer(msgpack.Packer):  # type: ignore[misc]
    """A ``msgpack.Packer`` with the settings of this protocol; reusable, not thread-safe.

    Lone surrogates (a class name may hold one) are written with a backslash escape rather than refused.
    """

    def __new__(cls) -> Packer:
        return super().__new__(cls, use_bin_type=False, unicode_errors="backslashreplace")  # type: ignore[no-any-return]

    def __init__(self) -> None:
        super().__init__(use_bin_type=False, unicode_errors="backslashreplace")


def pack(value: Any) -> bytes:
    """``value`` (None, bool, int, float, str, bytes, list, tuple or dict of those) as MessagePack bytes."""
    return msgpack.packb(value, use_bin_type=False, unicode_errors="backslashreplace")  # type: ignore[no-any-return]


def figure(value: int | float) -> int | float | None:
    """A number to six decimals, as what the Rbkit clients are sent may hold it: an integer where it is whole (and
    below 2**53, past which every double is).

    The original browser client reads half of a double whose upper half tells all (0.0, infinities, NaN, what is nearly
    0), and takes what is left of it for the next value. Infinities and NaN become None.
    """
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        return None
    rounded = round(value, 6)
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def double(value: float) -> bytes:
    """A number as a double, whatever it is."""
    return _DOUBLE.pack(DOUBLE, value)


def array_header(length: int) -> bytes:
    """What opens an array of ``length`` values."""
    return _header(length, 0x90, 0xDC)


def map_header(length: int) -> bytes:
    """What opens a map of ``length`` entries."""
    return _header(length, 0x80, 0xDE)


def _header(length: int, short: int, long: int) -> bytes:
    if length < 16:
        return bytes((short | length,))
    if length < 0x10000:
        return bytes((long,)) + length.to_bytes(2, "big")
    return bytes((long + 1,)) + length.to_bytes(4, "big")


def pack_map(values: dict[str, Any], **packed: bytes) -> bytes:
    """``values`` as MessagePack, and behind them entries whose values are packed already."""
    parts = [map_header(len(values) + len(packed))]
    for key, value in values.items():
        parts += (pack(key), pack(value))
    for key, value in packed.items():
        parts += (pack(key), value)
    return b"".join(parts)


def reader(message: bytes | memoryview) -> Any:
    """A ``msgpack.Unpacker`` that stands at the beginning of a message, for whoever wants but a part of it. Texts are
    bytes. It raises :data:`UNREADABLE`."""
    found = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=max(len(message), 1))
    found.feed(message)
    return found


def unpack(data: bytes) -> Any:
    """The value in ``data``; maps may have keys of any type.

    Raises:
        ProtocolError: ``data`` is not exactly one MessagePack value, or would take too much memory.
    """
    if is_too_much(data):
        raise ProtocolError(f"a message of {len(data)} bytes whose values take more than {_MOST_MEMORY >> 20} MiB")
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False, unicode_errors="surrogateescape")
    except UNREADABLE as error:
        raise ProtocolError(f"not a MessagePack message ({len(data)} bytes): {error}") from error
