"""What lives, what has come and gone, and snapshots of all of it."""

from __future__ import annotations

from typing import Any, Final, Literal, TypedDict

from .command import CURSOR, Argument, Command

__all__ = [
    "COMMANDS",
    "CensusFacts",
    "ClassFigures",
    "CollectionFigures",
    "MemoryProfileAnswer",
    "ObjectSite",
    "PackedObject",
    "SnapshotAnswer",
    "SnapshotChunkAnswer",
    "SnapshotFacts",
    "SnapshotMakingAnswer",
    "TraceObjectsAnswer",
]

ClassFigures = tuple[int, int, int | None, int | None, int]
"""Index of the class in ``names``; how many live, at the last census; how many were born and have died since the
cursor, exactly, None where that is not known (the class is not traced, or has not been since the cursor); how many of
the living are in the collector's oldest generation or frozen, so that they have survived all others."""

CollectionFigures = tuple[float, int, int, int, int]
"""When it ended, in milliseconds since the epoch; its generation; how long it took, in microseconds; how many objects
it freed, and how many it could not free."""

ObjectSite = tuple[int, str, int, int]
"""Index of the class in ``names``, file, line, and how many of those that were made there are alive."""

PackedObject = dict[int, Any]
"""As in an ``object_space_dump`` message: ``{3: id, 4: class, 5: [id, ...], 8: size, 6: file, 7: line}``, and where the
class of an instance is known to be somewhere ``16: file`` and (Python 3.13 and later) ``17: line`` of that class; what
is not known is left out."""


class TraceObjectsAnswer(TypedDict):
    """Which objects' begin and end are told, and by which means."""

    patterns: list[str]
    """What is asked for now; empty when nothing is."""
    mechanism: Literal["hooks", "references", "weak references", "off"]
    """The means in use."""
    complete: bool
    """Whether every instance of every class named is counted, from now on."""
    note: str
    """What is not seen, and which part is published; may be empty."""


class CensusFacts(TypedDict):
    """The last count of all objects."""

    at_ms: float
    """When it was done, in milliseconds since the epoch; 0 if there has been none."""
    took_us: int
    """Its processor time in microseconds."""
    interval_us: int
    """How long until the next, in microseconds."""
    method: str
    """How it counts, for people."""
    note: str
    """What is wrong with the last count, for people; may be empty."""


class MemoryProfileAnswer(TypedDict):
    """What lives by class, what has come and gone since the cursor, and what the collector did."""

    cursor: int
    """What to send next time."""
    timestamp: float
    """Milliseconds since the epoch."""
    span_us: int
    """Microseconds from the cursor to now; 0 without a cursor, or with one that is not known (any more)."""
    running: bool
    """Whether begin and end of objects are traced (``start_memory_profile``, ``trace_objects``)."""
    names: list[str]
    """Of classes (``app.models.User``, builtins bare)."""
    classes: list[ClassFigures]
    """Most living first, at most 2000 classes; frozen objects are missing where ``census`` says so."""
    total_live: int
    """Of all classes."""
    census: CensusFacts
    """When they were counted."""
    collections: list[CollectionFigures]
    """Since the cursor, at most the last 200."""
    sites: list[ObjectSite]
    """Where those of the followed objects that are alive were made."""
    gc: dict[str, float]
    """What ``gc_stats`` has; ``gc_time_ms`` since the last such message."""


class SnapshotFacts(TypedDict):
    """What is known of each snapshot."""

    id: int
    """The snapshot's number in this server."""
    state: Literal["running", "done", "failed"]
    """Whether it is made still."""
    method: Literal["fork", "in-process", "python"]
    """How it is made."""
    why: str
    """Why no better method was taken; empty for the best."""
    objects: int | None
    """How many; None until it is done."""
    chunks: int | None
    """How many; None until it is done."""
    bytes: int | None
    """Size of all chunks; None until it is done."""
    objects_so_far: int
    """Objects written."""
    objects_expected: int | None
    """Objects that the collector knows, as a measure for progress (there will be more); None until known."""
    pause_ms: float | None
    """How long the process stood still; None for ``python``, which takes many short turns."""
    duration_ms: float | None
    """How long it took; None while it runs."""
    time: float
    """When it was begun, in milliseconds since the epoch."""


class SnapshotAnswer(SnapshotFacts, total=False):
    """How far a snapshot is."""

    message: str
    """Why it failed; left out if it did not."""


class SnapshotMakingAnswer(SnapshotAnswer):
    """Instead of a chunk, while the snapshot is made: ask again."""

    n: int
    """The chunk's number."""


class SnapshotChunkAnswer(TypedDict):
    """One chunk of a snapshot that is done."""

    id: int
    """The snapshot's number in this server."""
    n: int
    """The chunk's number, from 0."""
    state: Literal["done"]
    """The snapshot's."""
    chunks: int
    """How many there are."""
    total: int
    """Objects of the snapshot."""
    objects: list[PackedObject]
    """At most 1000."""


_MAX_PATTERNS: Final = 50
_SNAPSHOT: Final = Argument("id", "the id that snapshot_start answered")

COMMANDS: Final = (
    Command(
        "start_memory_profile",
        "Objects created and destroyed, collections, and gc_stats every 5 s, are published.",
        native=True,
    ),
    Command("stop_memory_profile", "None of these any more.", native=True),
    Command("trigger_gc", "A full collection; the answer comes after it.", native=True),
    Command(
        "trace_objects",
        "Of which classes the objects are followed one by one.",
        (Argument("pattern", "a class or module like app.models.User or app.*", pattern=True),),
        (TraceObjectsAnswer,),
        most=_MAX_PATTERNS,
    ),
    Command(
        "memory_profile",
        "What lives by class, and what has come and gone since the cursor.",
        (CURSOR,),
        (MemoryProfileAnswer,),
        optional=1,
        polls=True,
    ),
    Command(
        "objectspace_snapshot",
        "Publishes the whole heap; the answer comes when all of it is queued.",
        native=True,
    ),
    Command("snapshot_start", "Begins a snapshot of the heap that is pulled in chunks.", answer=(SnapshotAnswer,)),
    Command("snapshot_status", "How far a snapshot is.", (_SNAPSHOT,), (SnapshotAnswer,)),
    Command(
        "snapshot_chunk",
        "One chunk of it.",
        (_SNAPSHOT, Argument("n", "the chunk's number, from 0")),
        (SnapshotChunkAnswer, SnapshotMakingAnswer),
    ),
)
