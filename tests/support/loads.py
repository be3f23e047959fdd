"""An application whose requests do known work and measure it themselves: what a profile of it has to say."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from rbkit_websocket import RbkitWebsocket

from .apps import unpatched_sleep

AS = "a" * 22 + "b"
SECONDS = 0.25


# Made by the server, not by the import: tests import this module for its names, and a test that dumps the heap of their
# process would write a million numbers more.
@cache
def numbers() -> list[float]:
    return [number / 7 for number in range(400_000)]


@cache
def text() -> str:
    return json.dumps([{"id": number, "tags": ["a", "b"]} for number in range(150_000)])


@cache
def shuffled() -> list[int]:
    return [number * 7919 % 1_000_003 for number in range(600_000)]


def json_dumps() -> None:
    json.dumps(numbers())


def json_loads() -> None:
    json.loads(text())


def sorting() -> None:
    sorted(shuffled())


def regular_expression() -> None:
    re.match("(a+)+$", AS)


def big_integers() -> None:
    for _ in range(2):
        3**300_000 % 7


def sleeping() -> None:
    unpatched_sleep()(SECONDS)


def computing() -> None:
    total, until = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        total += len(str(total))


def serving() -> None:
    """Nothing: what the servers, the middleware and the profiler need themselves."""


LOADS: dict[str, Callable[[], None]] = {
    load.__name__: load
    for load in (
        *(json_dumps, json_loads, sorting, regular_expression, big_integers, sleeping),
        *(computing, serving),
    )
}


def generator() -> Iterator[bytes]:
    """Computes between its parts; the last one tells what that took."""
    wall = cpu = 0.0
    for _ in range(4):
        began, used = time.perf_counter(), time.thread_time()
        computing()
        wall += time.perf_counter() - began
        cpu += time.thread_time() - used
        yield b" " * 100
    yield json.dumps([wall, cpu]).encode()


def iterator() -> Iterator[bytes]:
    """One that takes no weak reference."""
    return map(bytes, generator())


class Readable:
    """A file that computes while it is read."""

    def __init__(self) -> None:
        self._parts = generator()

    def read(self, size: int = -1) -> bytes:
        return next(self._parts, b"")


def dripping() -> Iterator[bytes]:
    """Waits between its parts."""
    wall = 0.0
    for _ in range(4):
        began = time.perf_counter()
        time.sleep(0.5)
        wall += time.perf_counter() - began
        yield b" "
    yield json.dumps([wall, 0.0]).encode()


STREAMS: dict[str, Callable[[dict[str, Any]], Iterable[bytes]]] = {
    "generator": lambda environ: generator(),
    "iterator": lambda environ: iterator(),
    "file": lambda environ: environ["wsgi.file_wrapper"](Readable()),
    "dripping": lambda environ: dripping(),
}


def planted() -> Any:
    """``/LOAD`` does it once and answers ``[seconds, seconds of CPU time]``; ``/streamed/STREAM`` ends with these."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        kind, _, stream = environ["PATH_INFO"].strip("/").partition("/")
        if kind == "streamed":
            start_response("200 OK", [("Content-Type", "application/json")])
            return STREAMS[stream](environ)
        if kind == "napping":
            time.sleep(0.1)
        load = LOADS.get(environ["PATH_INFO"].strip("/"), serving)
        began, used = time.perf_counter(), time.thread_time()
        load()
        measured = [time.perf_counter() - began, time.thread_time() - used]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(measured).encode()]

    for data in (numbers, text, shuffled):
        data()
    return RbkitWebsocket(application)


def returning() -> Any:
    """Its work is the last that the application does before it returns, and no call."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return BODIES[environ["PATH_INFO"] == "/last" and 3**400_000 % 2]

    return RbkitWebsocket(application)


BODIES = ([b"even"], [b"odd"])
