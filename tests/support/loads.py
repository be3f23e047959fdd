"""An application whose requests do known work and measure it themselves: what a profile of it has to say."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from rbkit_websocket import RbkitWebsocket

from .apps import unpatched_sleep

NUMBERS = [number / 7 for number in range(400_000)]
TEXT = json.dumps([{"id": number, "tags": ["a", "b"]} for number in range(150_000)])
SHUFFLED = [number * 7919 % 1_000_003 for number in range(600_000)]
AS = "a" * 22 + "b"
SECONDS = 0.25


def json_dumps() -> None:
    json.dumps(NUMBERS)


def json_loads() -> None:
    json.loads(TEXT)


def sorting() -> None:
    sorted(SHUFFLED)


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


def planted() -> Any:
    """``/LOAD`` does it once and answers ``[seconds, seconds of CPU time]``."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        load = LOADS.get(environ["PATH_INFO"].strip("/"), serving)
        began, used = time.perf_counter(), time.thread_time()
        load()
        measured = [time.perf_counter() - began, time.thread_time() - used]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(measured).encode()]

    return RbkitWebsocket(application)


def returning() -> Any:
    """Its work is the last that the application does before it returns, and no call."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return BODIES[environ["PATH_INFO"] == "/last" and 3**400_000 % 2]

    return RbkitWebsocket(application)


BODIES = ([b"even"], [b"odd"])
