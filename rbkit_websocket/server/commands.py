"""The commands: a table of names and what each does. Everything runs in the server's thread.

A handler returns the answer (bytes, or a map that is packed), or a generator that the server's loop goes on with
beside its other work until it returns the answer: a snapshot or a collection keeps nobody else waiting.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

from ..profilers.greenlets.stacks import stacks
from ..profilers.heap.snapshot import usual_method
from ..profilers.memory.traced_objects import MAX_PATTERNS, good_pattern
from ..protocol.codec import pack
from ..protocol.constants import OK, PROTOCOL_VERSION, EventType, Field
from ..system.clock import time
from ..system.started import process_name
from .jobs import collect_garbage, snapshot
from .snapshots import HANDLERS as SNAPSHOT_HANDLERS
from .status import status

if TYPE_CHECKING:
    from .server import Server

__all__ = ["COMMANDS", "EXTENSIONS", "WISHES", "CommandError", "Job", "dispatch", "handshake_payload"]

Job = Generator["float | None", None, bytes]
"""Yields None to go on as soon as others have had their turn, or the seconds it wants to wait; returns the answer."""
Handler = Callable[["Server", "list[str]"], "bytes | dict[str, Any] | Job"]
PersonalHandler = Callable[["Server", "list[str]", str], "dict[str, Any]"]

INTERVAL_RANGE: Final = range(100, 10_000_001)


class CommandError(Exception):
    """A command cannot be done; the answer is ``{"error": code, "message": text}``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def handshake_payload(server: Server) -> dict[str, Any]:
    """The payload of ``handshake``: the protocol's keys, and strings of our own that every old client survives."""
    cpu = server.profiling.cpu
    hertz = 1_000_000 / cpu.interval()["effective_interval_us"]
    native = cpu.native
    return {
        "rbkit_server_version": server.version,
        "rbkit_protocol_version": PROTOCOL_VERSION,
        "process_name": process_name(),
        "pwd": server.working_directory,
        "pid": os.getpid(),
        "object_trace_enabled": int(server.profiling.memory_on),
        "cpu_profiling_enabled": int(cpu.running),
        "clock_type": cpu.clock,
        "cpu_profiling_mode": "sampling",
        "extensions": ",".join((*EXTENSIONS, *WISHES)),
        "language": "python",
        "python_version": sys.version.split(" ", 1)[0],
        "native": native,
        "cpu_sampling": f"{hertz:g} Hz, weighed by the clock, repeated to the interval",
        "cpu_events": "on" if server.profiling.cpu_events else "off",
        "cpu_interval_us": str(cpu.sampler.interval_usec),
        "server_id": server.id,
        "application": server.application,
        "heap_snapshot": usual_method(server.heap.fork),
        "object_trace": server.profiling.objects.description,
        "linger": f"{server.linger:g}",
    }


def _handshake(server: Server, _arguments: list[str]) -> bytes:
    return pack(
        {
            int(Field.EVENT_TYPE): int(EventType.HANDSHAKE),
            int(Field.TIMESTAMP): time.time() * 1000,
            int(Field.PAYLOAD): handshake_payload(server),
        }
    )


def _switch(method: str) -> Handler:
    def handler(server: Server, _arguments: list[str]) -> bytes:
        getattr(server.profiling, method)()
        return OK

    return handler


def _use_cpu_time(server: Server, _arguments: list[str]) -> bytes:
    server.profiling.cpu.next_clock = "cpu"
    return OK


def _use_wall_time(server: Server, _arguments: list[str]) -> bytes:
    server.profiling.cpu.next_clock = "wall"
    return OK


def _number(text: str, what: str) -> int:
    # No sign, no underscores, no digits of other scripts: what int() would take besides.
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise CommandError("bad_argument", f"{what} is a whole number, not {text[:40]!r}")
    return int(text)


def _set_cpu_interval(server: Server, arguments: list[str], client: str) -> dict[str, Any]:
    if len(arguments) != 1:
        raise CommandError("bad_argument", "set_cpu_interval takes one argument: the interval in microseconds")
    interval = _number(arguments[0], "the interval")
    if interval not in INTERVAL_RANGE:
        raise CommandError(
            "bad_argument", f"the interval is {INTERVAL_RANGE[0]} to {INTERVAL_RANGE[-1]} microseconds, not {interval}"
        )
    server.profiling.sign_of_life()
    return {**server.profiling.wish_interval(client, interval)}


def _start_cpu_polling(server: Server, arguments: list[str]) -> dict[str, Any]:
    if arguments:
        raise CommandError("bad_argument", "start_cpu_polling takes no argument")
    server.profiling.start_cpu_polling()
    return _cpu_state(server)


def _cpu_events(server: Server, arguments: list[str]) -> dict[str, Any]:
    if arguments not in (["on"], ["off"]):
        raise CommandError("bad_argument", "cpu_events takes one argument: on or off")
    server.profiling.publish_cpu(arguments == ["on"])
    server.profiling.sign_of_life()
    return _cpu_state(server)


def _cpu_state(server: Server) -> dict[str, Any]:
    cpu = server.profiling.cpu
    return {"running": cpu.running, "clock": cpu.clock, "events": server.profiling.cpu_events, **cpu.interval()}


def _cpu_profile(server: Server, arguments: list[str]) -> bytes:
    if len(arguments) > 1:
        raise CommandError("bad_argument", "cpu_profile takes at most one argument: the cursor of the last answer")
    cursor = _number(arguments[0], "the cursor") if arguments else None
    server.profiling.sign_of_life()
    return server.profiling.cpu.profile(cursor)


def _status(server: Server, arguments: list[str]) -> dict[str, Any]:
    if arguments:
        raise CommandError("bad_argument", "status takes no argument")
    return status(server)


def _stacks(server: Server, arguments: list[str]) -> Job:
    if arguments:
        raise CommandError("bad_argument", "stacks takes no argument")
    server.profiling.watch_requests()
    return stacks(server.host, server.profiling.greenlets)


def _blocked(server: Server, arguments: list[str]) -> dict[str, Any]:
    if arguments:
        raise CommandError("bad_argument", "blocked takes no argument")
    if server.watch is None:
        raise CommandError(
            "not_applicable", "there is no event loop here that could be blocked: no gevent hub is known"
        )
    return server.watch.answer(server.audience())


def _wait_profile(server: Server, arguments: list[str], client: str) -> dict[str, Any]:
    if arguments not in (["on"], ["off"]):
        raise CommandError("bad_argument", "wait_profile takes one argument: on or off")
    server.profiling.sign_of_life()
    return {**server.profiling.wish_waits(client, arguments == ["on"])}


def _goodbye(server: Server, arguments: list[str], client: str) -> dict[str, Any]:
    if arguments:
        raise CommandError("bad_argument", "goodbye takes no argument")
    server.profiling.goodbye(client)
    return {}


def _trace_objects(server: Server, arguments: list[str]) -> dict[str, Any]:
    if len(arguments) > MAX_PATTERNS:
        raise CommandError("bad_argument", f"trace_objects takes at most {MAX_PATTERNS} patterns")
    for pattern in arguments:
        if not good_pattern(pattern):
            raise CommandError(
                "bad_argument", f"a pattern is a class or module like app.models.User or app.*, not {pattern[:40]!r}"
            )
    return server.profiling.trace_objects(tuple(arguments))


def _memory_profile(server: Server, arguments: list[str]) -> dict[str, Any]:
    if len(arguments) > 1:
        raise CommandError("bad_argument", "memory_profile takes at most one argument: the cursor of the last answer")
    return server.profiling.memory_profile(_number(arguments[0], "the cursor") if arguments else None)


COMMANDS: Final[dict[str, Handler]] = {
    "handshake": _handshake,
    "start_memory_profile": _switch("start_memory"),
    "stop_memory_profile": _switch("stop_memory"),
    "start_cpu_profiling": _switch("start_cpu"),
    "stop_cpu_profiling": _switch("stop_cpu"),
    "use_cpu_time": _use_cpu_time,
    "use_wall_time": _use_wall_time,
    "trigger_gc": lambda server, _arguments: collect_garbage(server),
    "objectspace_snapshot": lambda server, _arguments: snapshot(server),
}
"""The protocol's own commands, which take no arguments."""

EXTENSIONS: Final[dict[str, Handler]] = {
    "cpu_profile": _cpu_profile,
    "start_cpu_polling": _start_cpu_polling,
    "cpu_events": _cpu_events,
    "stacks": _stacks,
    "blocked": _blocked,
    "trace_objects": _trace_objects,
    "memory_profile": _memory_profile,
    **SNAPSHOT_HANDLERS,
    "status": _status,
}
"""Commands of our own: ``name argument argument``; the answer is one map with string keys."""

WISHES: Final[dict[str, PersonalHandler]] = {
    "set_cpu_interval": _set_cpu_interval,
    "wait_profile": _wait_profile,
    "goodbye": _goodbye,
}
"""Likewise those of a client for itself."""

# Whoever sends them sends them again.
_POLLS: Final = frozenset({"cpu_profile", "memory_profile", "stacks", "blocked", "status"})


def dispatch(server: Server, command: str, client: str = "") -> bytes | Job:
    """The answer to a command, or the job that will make it. Never raises for what a client sent.

    Args:
        server: who answers.
        command: the command with its arguments.
        client: what stands for the client who sent it; empty: the application itself.
    """
    name, *arguments = command.split() or [""]
    server.profiling.sign_of(client, polls=name in _POLLS)
    try:
        if (personal := WISHES.get(name)) is not None:
            return pack(personal(server, arguments, client))
        handler = EXTENSIONS.get(name) or (COMMANDS.get(name) if not arguments else None)
        if handler is None:
            return OK
        answer = handler(server, arguments)
    except CommandError as error:
        answer = {"error": error.code, "message": error.message}
    return pack(answer) if isinstance(answer, dict) else answer
