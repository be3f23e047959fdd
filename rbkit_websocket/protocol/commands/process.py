"""What the process is, and how a client leaves."""

from __future__ import annotations

from typing import Final, Literal, TypedDict

from .command import Command

__all__ = ["COMMANDS", "GoodbyeAnswer", "HandshakeAnswer", "StatusAnswer"]


class HandshakeAnswer(TypedDict):
    """The payload of a ``handshake`` message. What goes beyond the protocol are strings, which every old client
    survives; another server leaves them out."""

    rbkit_server_version: str
    """Of the program."""
    rbkit_protocol_version: str
    """``2.1``."""
    process_name: str
    """As the process was started."""
    pwd: str
    """The working directory that the process had when the server began; empty if it had been removed."""
    pid: int
    """As the process itself knows it."""
    object_trace_enabled: Literal[0, 1]
    """Whether objects are followed or ``gc_stats`` are published."""
    cpu_profiling_enabled: Literal[0, 1]
    """Whether CPU samples are taken."""
    clock_type: Literal["wall", "cpu"]
    """What published samples are worth, or will be from the next start on."""
    cpu_profiling_mode: Literal["sampling"]
    """Always the same."""
    extensions: str
    """Names of the commands beyond the protocol, comma separated."""
    language: Literal["python"]
    """Which kind of server it is."""
    python_version: str
    """Such as ``3.13.1``."""
    native: str
    """``yes``, or ``no`` and why the C extension is not in use."""
    cpu_sampling: str
    """How samples are really taken, for people."""
    cpu_events: Literal["on", "off"]
    """Whether single samples are published."""
    cpu_interval_us: str
    """What a ``cpu_sample`` stands for, in microseconds."""
    server_id: str
    """Which server it is."""
    application: str
    """What people call the application."""
    heap_snapshot: str
    """How snapshots are taken, and why not in a better way."""
    object_trace: str
    """How objects are seen, and which part of them is published."""
    linger: str
    """Seconds that profilers go on after the last client has left. Where it is missing they may go on for ever."""


class StatusAnswer(TypedDict):
    """What the listing of all servers says of each. Cheap: nothing is counted until it is asked for."""

    pid: int
    """As the process itself knows it."""
    application: str
    """What people call the application."""
    server_id: str
    """Which server it is."""
    started: float
    """When the server started, in seconds since the epoch."""
    rss: int | None
    """Bytes of memory that the process holds; None where there is no ``/proc``."""
    requests: int | None
    """Requests of the application now, from the call of its function until their body has been sent (under uWSGI until
    that function has returned), those for rbkit's own pages and sessions left out; None without the middleware, or with
    ``request_names=False``."""
    sessions: int
    """rbkit sessions that this process carries for anybody."""


class GoodbyeAnswer(TypedDict):
    """Nothing."""


COMMANDS: Final = (
    Command("handshake", "What the server is and what it can.", answer=(HandshakeAnswer,), native=True),
    Command("status", "What the list of servers tells of each.", answer=(StatusAnswer,), polls=True),
    Command("goodbye", "What this client has wished ends, as far as nobody else wishes it.", answer=(GoodbyeAnswer,)),
)
