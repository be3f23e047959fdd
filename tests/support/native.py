"""What the tests of the native sampler share."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from rbkit_websocket import RbkitWebsocket
from rbkit_websocket.native.loader import NativeUnavailable, extension
from rbkit_websocket.profilers.base import Host
from rbkit_websocket.profilers.cpu.native import NativeSampler
from rbkit_websocket.server.originals import AppThread, make_host

from .program import run


def _why_not() -> str:
    try:
        extension("_native")
    except NativeUnavailable as reason:
        return str(reason)
    return ""


REASON = _why_not()
# So that a run that is meant to test one of both ways does not pass by skipping it.
if REASON and os.environ.get("RBKIT_TEST_NATIVE") == "require":
    raise RuntimeError(f"RBKIT_TEST_NATIVE=require, but there is no native sampler: {REASON}")
if not REASON and os.environ.get("RBKIT_TEST_NATIVE") == "absent":
    raise RuntimeError("RBKIT_TEST_NATIVE=absent, but there is a native sampler")

native = pytest.mark.skipif(bool(REASON), reason=f"no native sampler: {REASON}")


@contextmanager
def native_host() -> Iterator[Host]:
    app = AppThread()
    try:
        yield make_host(app)
    finally:
        app.close()


@pytest.fixture
def sampler() -> Iterator[NativeSampler]:
    """A native sampler of this process; stopped and emptied after the test."""
    with native_host() as host:
        sampler = NativeSampler(host)
        yield sampler
        sampler.stop()
        sampler.drain(None)


SIGNAL = sys.version_info < (3, 13)


@pytest.fixture(params=["default", "signal"] if SIGNAL else ["default"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """How the main thread is asked: as it is by default, or with a signal."""
    module = extension("_native")
    before = module.needs_signal()
    module.use_signal(request.param == "signal")
    yield request.param
    module.use_signal(before)


def needs_signal(test: Callable[..., None]) -> Callable[..., None]:
    """Runs only with the signal."""
    skipped = pytest.mark.skipif(not SIGNAL, reason="no signal is used from Python 3.13 on")(test)
    by_signal: Callable[..., None] = pytest.mark.parametrize("way", ["signal"], indirect=True)(skipped)
    return by_signal


def spin(seconds: float) -> int:
    number, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(1000):
            number += 1
    return number


def request(wrapped: Callable[..., Any], path: str) -> None:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": ""}
    wrapped(environ, None)


def middleware(application: Callable[..., Iterable[bytes]]) -> Callable[..., Any]:
    """One that has started, in front of nothing: its server is elsewhere."""
    wrapped: Callable[..., Any] = RbkitWebsocket(
        application, token=False, pub_endpoint="tcp://[::1]:1", req_endpoint="tcp://[::1]:2"
    )
    request(wrapped, "/")
    return wrapped


def names(totals: Iterable[tuple[Any, ...]]) -> set[str]:
    """Of all functions in these stacks."""
    return {code.co_name for stack, *_ in totals for code in stack.codes}


def drained(sampler: NativeSampler, clock: str = "wall") -> tuple[Counter[str], Counter[str]]:
    """Microseconds and number of samples of each function that was on a stack, since the last time."""
    weights: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for stack, _, wall, cpu, count, _ in sampler.drain(None).totals:
        weight = cpu if clock == "cpu" else wall
        for name in {code.co_name for code in stack.codes}:
            weights[name] += weight
            counts[name] += count
    return weights, counts


def python(code: str, *, env: dict[str, str] | None = None, arguments: Sequence[str] = (), **options: Any) -> str:
    """Runs a program in a process of its own; its standard output.

    Raises:
        AssertionError: it does not end, or not well.
    """
    done = run(code, *arguments, env={**os.environ, **(env or {})}, **options)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)
