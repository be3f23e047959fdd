"""MessagePack as the Rbkit clients read it.

The old browser clients' decoder knows neither ``str8`` nor ``bin``, so everything is packed with the raw types of
the old specification; every current reader understands those. Reading accepts both ages and never fails on a string
that is not UTF-8: such bytes become surrogate escapes.
"""

from __future__ import annotations

import math
from typing import Any

import msgpack

from ..errors import ProtocolError

__all__ = ["Packer", "figure", "pack", "pack_map", "unpack"]


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


def pack_map(values: dict[str, Any], **packed: bytes) -> bytes:
    """``values`` as MessagePack, and behind them entries whose values are packed already."""
    packer = msgpack.Packer()
    parts = [packer.pack_map_header(len(values) + len(packed))]
    for key, value in values.items():
        parts += (pack(key), pack(value))
    for key, value in packed.items():
        parts += (pack(key), value)
    return b"".join(parts)


def unpack(data: bytes) -> Any:
    """The value in ``data``; maps may have keys of any type.

    Raises:
        ProtocolError: ``data`` is not exactly one MessagePack value.
    """
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False, unicode_errors="surrogateescape")
    except (ValueError, TypeError, msgpack.UnpackException) as error:  # TypeError: a list or map as key
        raise ProtocolError(f"not a MessagePack message ({len(data)} bytes): {error}") from error
