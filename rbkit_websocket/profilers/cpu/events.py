"""CPU samples as events of the protocol, for subscribers."""

from __future__ import annotations

import struct
from types import CodeType
from typing import Any, Final

from ...protocol.codec import pack
from ...protocol.constants import Field
from ..base import array_header, code_label
from .owners import called_on_owner
from .sampler import Clock, Sample

__all__ = ["SampleEvents"]

# The protocol's clients were written for this rate; they draw each event.
PUBLISHED_PER_SECOND: Final = 1000
# A thread that could not be looked at for 5 s (an extension held the interpreter) is worth no more than this.
_MAX_REPEATS: Final = 5000
# Of codes and threads, a few hundred bytes each; of native stacks as packed bytes, some KiB each.
_MAX_HEADS: Final = 10_000
_MAX_BODIES: Final = 1000

_DOUBLE: Final = struct.Struct(">d")


class SampleEvents:
    """Samples as ``cpu_sample`` events, each worth one interval: heavy samples are repeated, light ones thinned."""

    def __init__(self) -> None:
        self._carried: dict[int, float] = {}
        self._packed: dict[int, tuple[CodeType, bytes]] = {}
        self._bodies: dict[Any, bytes] = {}
        self._requests: dict[str, bytes] = {}

    def pack(self, samples: list[Sample], interval: int, clock: Clock) -> list[bytes]:
        """The events of these samples; the rest of an interval is carried over to the thread's next sample."""
        events: list[bytes] = []
        if len(self._packed) > _MAX_HEADS:
            self._packed.clear()
            self._requests.clear()
        if len(self._carried) > _MAX_HEADS:
            self._carried.clear()
        for sample in samples:
            # With many threads the cap is shared among them.
            worth = max(float(interval), sample.threads * 1e6 / PUBLISHED_PER_SECOND)
            weight = sample.cpu if clock == "cpu" else sample.wall
            whole, rest = divmod(self._carried.get(sample.thread, 0.0) + weight, worth)
            self._carried[sample.thread] = rest
            if repeats := min(int(whole), _MAX_REPEATS):
                body = self._body(sample)
                spread = worth / 1000
                events.extend(
                    b"\x83\x00\x09\x01\xcb" + _DOUBLE.pack(sample.milliseconds - spread * back) + body
                    for back in range(repeats - 1, -1, -1)
                )
        return events

    def _body(self, sample: Sample) -> bytes:
        """The payload's key and value."""
        name = sample.request.name if sample.request is not None else None
        if isinstance(sample.stack, tuple):
            return b"\x02" + self._frames(sample.thread, sample.stack[0::2], name)
        # A native stack is one object for all its samples.
        key = (sample.stack, name)
        body = self._bodies.get(key)
        if body is None:
            if len(self._bodies) >= _MAX_BODIES:
                self._bodies.clear()
            body = b"\x02" + self._frames(sample.thread, sample.stack.codes, name)
            self._bodies[key] = body
        return body

    def _frames(self, ident: int, codes: tuple[CodeType, ...], request: str | None) -> bytes:
        heads = []
        for code in codes:
            known = self._packed.get(id(code))
            if known is None:
                # The code object is kept beside its bytes, so that its identity stays its own.
                known = self._packed[id(code)] = (code, _frame_head(code))
            heads.append(known[1])
        if request is not None:
            # The outermost frame, so that every client shows a flame for each endpoint.
            heads.append(self._request_head(request))
        # Each of them ends with the thread: they are joined by it.
        return array_header(len(heads)) + pack(ident).join((*heads, b""))

    def _request_head(self, name: str) -> bytes:
        head = self._requests.get(name)
        if head is None:
            head = self._requests[name] = _packed_head(name, name, "", 0)
        return head


def _frame_head(code: CodeType) -> bytes:
    """All of a protocol frame but its last value, the thread."""
    label = code_label(code)
    return _packed_head(code.co_name, label, code.co_filename, code.co_firstlineno, int(called_on_owner(code, label)))


def _packed_head(name: str, label: str, file: str, line: int, singleton: int = 0) -> bytes:
    keys = (Field.METHOD_NAME, Field.LABEL, Field.FILE, Field.LINE, Field.SINGLETON_METHOD)
    pairs = zip(keys, (name, label, file, line, singleton), strict=True)
    return b"\x86" + b"".join(pack(int(key)) + pack(value) for key, value in pairs) + pack(int(Field.THREAD_ID))
