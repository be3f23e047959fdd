"""The state that viewers show, drawn for a terminal or as plain lines. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .hot_functions import Row, Table
from .text import clean, fit, short_path

__all__ = ["HeapFigures", "View", "draw", "plain_lines"]

_PLAIN_ROWS = 5


@dataclass(frozen=True)
class HeapFigures:
    """Garbage collection and memory, as far as the server has told; None = not yet.

    Attributes:
        collections: since the process started.
        pauses: collections seen since the view began.
        pause_ms: milliseconds that they took together.
        longest_ms: the longest of them.
        rss: bytes of memory that the process holds.
        blocks: memory blocks that Python has allocated.
    """

    collections: int | None = None
    pauses: int = 0
    pause_ms: float = 0.0
    longest_ms: float = 0.0
    rss: int | None = None
    blocks: int | None = None


@dataclass(frozen=True)
class View:
    """One second's state.

    Attributes:
        title: the application's name.
        url: its WebSocket.
        seconds: since the view began.
        requests: requests a second, or None when they are not counted.
        clock: ``wall`` or ``cpu``.
        interval_us: microseconds between samples, as they are taken.
        table: the hottest functions.
        window: seconds that the table covers.
        heap: gc and memory.
        connection: ``open``, or why not.
        lost: publications lost.
    """

    title: str
    url: str
    seconds: int
    requests: float | None
    clock: str
    interval_us: int
    table: Table
    window: int
    heap: HeapFigures
    connection: str
    lost: int


def draw(view: View, columns: int, rows: int) -> list[str]:
    """At most ``rows`` lines of at most ``columns`` columns, no line break or control character in them."""
    table, heap = view.table, view.heap
    head = [
        f"{view.title} · {view.seconds} s · connection {view.connection}",
        view.url,
        "",
        f"requests/s {_number(view.requests, '.1f')}   busy {table.busy_share:.1%}   "
        f"idle {(1 - table.busy_share) if table.busy_us + table.idle_us else 0:.1%}   "
        f"({table.samples} samples in {view.window} s, {view.clock} clock, one in {view.interval_us} us)",
        f"gc {_number(heap.collections, 'd')} collections, {heap.pauses} seen: {heap.pause_ms:.1f} ms paused, longest "
        f"{heap.longest_ms:.1f} ms",
        f"memory {_mib(heap.rss)} resident, {_number(heap.blocks, ',d')} blocks   lost publications {view.lost}",
        "",
        f"{'SELF':>7} {'TOTAL':>7}  {'FUNCTION':<28}  WHERE (shares are of the busy time)",
    ]
    lines = head + [_row(row, table) for row in table.rows]
    if not table.rows:
        lines.append("        nothing but waiting so far")
    return [fit(clean(line), columns).rstrip() for line in lines[:rows]]


def _row(row: Row, table: Table) -> str:
    return (
        f"{table.share(row.self_us):>7.1%} {table.share(row.total_us):>7.1%}  {fit(clean(row.label), 28)}  "
        f"{short_path(row.file)}:{row.line}"
    )


def plain_lines(view: View) -> list[str]:
    """The state as lines of ``key=value`` pairs for a program to read.

    One line ``second ...``, then up to five lines ``hot ...``. ``-`` stands for an unknown figure; a function's
    name and place are the last two fields of its line, as ``where=`` and ``function=`` (which may hold spaces).
    """
    table, heap = view.table, view.heap
    lines = [
        f"second={view.seconds} requests_per_s={_number(view.requests, '.1f')} busy={table.busy_share:.3f} "
        f"samples={table.samples} gc_collections={_number(heap.collections, 'd')} gc_seen={heap.pauses} "
        f"gc_pause_ms={heap.pause_ms:.1f} gc_longest_ms={heap.longest_ms:.1f} rss_bytes={_number(heap.rss, 'd')} "
        f"blocks={_number(heap.blocks, 'd')} lost={view.lost} connection={view.connection}"
    ]
    lines += [
        f"hot self={table.share(row.self_us):.3f} total={table.share(row.total_us):.3f} "
        f"where={short_path(row.file)}:{row.line} function={row.label}"
        for row in table.rows[:_PLAIN_ROWS]
    ]
    return [clean(line) for line in lines]


def _number(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


def _mib(value: int | None) -> str:
    return "-" if value is None else f"{value / 2**20:.1f} MiB"
