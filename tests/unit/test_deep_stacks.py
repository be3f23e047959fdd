"""Stacks of any depth: where they are, where they came from, whose request they are, and how many are left out."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.embeddedpeer import profile_of
from support.native import REASON, middleware, native_host, request
from support.waiting import scaled, wait_until

from rbkit_websocket.profilers.cpu.aggregate import CpuProfiler
from rbkit_websocket.profilers.cpu.sampler import walk
from rbkit_websocket.profilers.greenlets.stacks import stack_of
from rbkit_websocket.profilers.thread_frames import current_frames

DEPTHS = [200, 600, 3000, 30_000]
WALKS = ["python"] if REASON else ["python", "public", "internal"]


def depth_here() -> int:
    frame, depth = sys._getframe(1), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    return depth


def dive(levels: int, then: Callable[[], Any]) -> None:
    if levels:
        dive(levels - 1, then)
    else:
        then()


@contextmanager
def deep_enough(depth: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 1000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@pytest.fixture(params=WALKS)
def profiler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[CpuProfiler]:
    if request.param == "python":
        monkeypatch.setenv("RBKIT_NATIVE", "0")
    with native_host() as host:
        profiler = CpuProfiler(host)
        if request.param != "python":
            module = profiler.sampler._native  # type: ignore[union-attr]
            if module.use_internal_walk(request.param == "internal") is not (request.param == "internal"):
                pytest.skip("this version has the public walk only")
        yield profiler
        profiler.stop()
        if request.param != "python":
            module.use_internal_walk(True)


def check(names: list[str], depth: int, innermost: str) -> None:
    """Whether these are the frames of a stack of this depth, or of one a few calls deeper or less deep."""
    assert innermost in names[:3]
    if depth < 250:
        assert "frames" not in "".join(names)
        return
    assert len(names) == 257
    assert names[100] == names[127] == "dive"
    between = names[128]
    assert between.startswith("(… ")
    assert between.endswith(" frames …)")
    assert abs(int(between.split()[1]) - (depth - 256)) <= 3
    assert "application" in names[129:], "what it was called by"
    assert names[-1] in {"<module>", "_bootstrap", "run_module_code", "_run_module_as_main"}


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_sampler_keeps_both_ends_and_the_request(profiler: CpuProfiler, depth: int) -> None:
    depths: list[int] = []

    def burn() -> None:
        depths.append(depth_here())
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            pass

    def application(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/deep":
            dive(depth, burn)
        return []

    wrapped = middleware(application)
    profiler.start()
    with deep_enough(depth):
        wait_until(lambda: request(wrapped, "/deep") or sampled(profiler, "burn"), "a sample", timeout=20)
    profiler.stop()
    stack = sampled(profiler, "burn")
    assert stack is not None
    assert stack["request"] == "GET /deep"
    check(stack["names"], depths[0], "burn")


def sampled(profiler: CpuProfiler, innermost: str) -> dict[str, Any] | None:
    """The heaviest stack that has this function at its inner end."""
    profile = profile_of(profiler)
    for stack in profile["stacks"]:
        names = [profile["frames"][index][0] for index in stack["frames"]]
        if innermost in names[:1]:
            return {**stack, "names": names}
    return None


@pytest.mark.parametrize("depth", DEPTHS)
def test_stacks_and_waits_keep_both_ends_and_the_request(depth: int) -> None:
    inside, over = threading.Event(), threading.Event()
    depths: list[int] = []

    def wait() -> None:
        depths.append(depth_here())
        inside.set()
        over.wait(scaled(30))

    def application(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/deep":
            dive(depth, wait)
        return []

    wrapped = middleware(application)
    thread = threading.Thread(target=request, args=(wrapped, "/deep"))
    with deep_enough(depth):
        thread.start()
        try:
            assert inside.wait(scaled(20))
            frames = current_frames()
            assert frames is not None
            assert thread.ident is not None
            stack, belongs = stack_of(frames[thread.ident])
            parts, sampled = walk(frames[thread.ident])
            del frames
        finally:
            over.set()
            thread.join()
    assert belongs.name == "GET /deep"
    assert sampled is not None
    assert sampled.name == "GET /deep"
    check([entry[0] for entry in stack], depths[0] + 2, "wait")
    check([code.co_name for code in parts[0::2]], depths[0] + 2, "wait")
