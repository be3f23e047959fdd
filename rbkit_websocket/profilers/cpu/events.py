"""CPU samples as events of the protocol, for subscribers."""

from __future__ import annotations

from types import CodeType
from typing import Any, Final

from ...protocol.packing import frame_head, sample_event, sample_frames
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
                    sample_event(sample.milliseconds - spread * back, body) for back in range(repeats - 1, -1, -1)
                )
        return events

    def _body(self, sample: Sample) -> bytes:
        """The payload, packed."""
        name = sample.request.name if sample.request is not None else None
        if isinstance(sample.stack, tuple):
            return self._frames(sample.thread, sample.stack[0::2], name)
        # A native stack is one object for all its samples.
        key = (sample.stack, name)
        body = self._bodies.get(key)
        if body is None:
            if len(self._bodies) >= _MAX_BODIES:
                self._bodies.clear()
            body = self._frames(sample.thread, sample.stack.codes, name)
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
        return sample_frames(heads, ident)

    def _request_head(self, name: str) -> bytes:
        head = self._requests.get(name)
        if head is None:
            head = self._requests[name] = frame_head(name, name, "", 0)
        return head


def _frame_head(code: CodeType) -> bytes:
    """All of a protocol frame but its last value, the thread."""
    singleton = int(called_on_owner(code))
    return frame_head(code.co_name, code.co_qualname, code.co_filename, code.co_firstlineno, singleton)
