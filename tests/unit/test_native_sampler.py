"""The native sampler: what it sees, how often, and with which weight."""

from __future__ import annotations

import hashlib
import statistics
import sys
import textwrap
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import repeat

import pytest
from support.native import drained, names, native

from rbkit_websocket.profilers.base import code_line
from rbkit_websocket.profilers.native import NativeSampler, number_frames

pytestmark = native


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(200))


def spin(seconds: float) -> int:
    """As burn, with bytecode only."""
    number, until = 0, time.thread_time() + seconds
    while time.thread_time() < until:
        for _ in range(1000):
            number += 1
    return number


def seventy(unit: int) -> None:
    for _ in repeat(None, 7 * unit):
        pass


def twenty(unit: int) -> None:
    for _ in repeat(None, 2 * unit):
        pass


def ten(unit: int) -> None:
    for _ in repeat(None, unit):
        pass


@pytest.mark.smoke
@pytest.mark.timing
def test_a_main_thread_that_computes_is_sampled_at_the_rate_asked_for(sampler: NativeSampler) -> None:
    sampler.start("cpu")
    used = time.thread_time()
    spin(1.0)
    used = time.thread_time() - used
    sampler.stop()
    weights, counts = drained(sampler)
    assert weights["spin"] == pytest.approx(used * 1e6, rel=0.05)
    # A tick that comes while another process has the processor finds the thread where it was: on a busy machine there
    # are more ticks than CPU time, never fewer.
    assert counts["spin"] >= 0.95 * used * 1000


@pytest.mark.timing
def test_known_shares_are_found_within_two_points(sampler: NativeSampler) -> None:
    took: Counter[str] = Counter()
    functions = (seventy, twenty, ten)
    sampler.start("wall")
    # No system calls in between: an interrupt that a virtual machine is slow to deliver arrives with the next of them.
    last = time.perf_counter_ns()
    end = last + 4_000_000_000
    while last < end:
        for function in functions:
            function(7000)
            now = time.perf_counter_ns()
            took[function.__name__] += now - last
            last = now
    sampler.stop()
    weights, _ = drained(sampler)

    def shares(times: Counter[str]) -> list[float]:
        return [100 * times[name] / sum(times[name] for name in took) for name in took]

    assert shares(weights) == pytest.approx(shares(took), abs=2)


def hold(number: int) -> None:
    sum(range(number))


def let_go(data: bytes) -> None:
    hashlib.sha256(data).digest()
    zlib.crc32(data)


def rest() -> None:
    time.sleep(0.05)


@pytest.mark.smoke
@pytest.mark.timing
def test_calls_that_keep_or_drop_the_lock_get_their_time(sampler: NativeSampler) -> None:
    data = bytes(20_000_000)
    spent: Counter[str] = Counter()
    sampler.start("wall")
    for _ in range(5):
        for call, argument in ((hold, (2_000_000,)), (let_go, (data,)), (rest, ())):
            began = time.monotonic()
            call(*argument)
            spent[call.__name__] += round((time.monotonic() - began) * 1e6)
    sampler.stop()
    weights, _ = drained(sampler)
    for name, microseconds in spent.items():
        assert weights[name] == pytest.approx(microseconds, rel=0.1), name


@pytest.mark.parametrize("clock", ["wall", "cpu"])
@pytest.mark.timing
def test_other_threads_are_seen_often_and_weighed_right(sampler: NativeSampler, clock: str) -> None:
    sampler.start("wall" if clock == "wall" else "cpu")
    began = time.monotonic()
    used = [0.0]

    def work() -> None:
        before = time.thread_time()
        burn(1.0)
        used[0] = time.thread_time() - before

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    elapsed = time.monotonic() - began
    sampler.stop()
    weights, counts = drained(sampler)
    assert weights["burn"] == pytest.approx((elapsed if clock == "wall" else used[0]) * 1e6, rel=0.1)
    # Only where this process has a processor to itself can it be looked at that often.
    assert counts["burn"] >= 150 * used[0] * used[0] / elapsed


@pytest.mark.timing
def test_a_thread_at_rest_costs_no_look(sampler: NativeSampler) -> None:
    ended = threading.Event()
    threads = [threading.Thread(target=ended.wait, args=(20,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    sampler.start("wall")
    time.sleep(0.2)
    before = sampler._native.status()["looks"]
    time.sleep(1.0)
    looks = sampler._native.status()["looks"] - before
    sampler.stop()
    ended.set()
    for thread in threads:
        thread.join()
    weights, counts = drained(sampler)
    assert looks < 40  # ten a second, for threads that nothing else tells of
    assert weights["wait"] >= 0.9 * 5 * 1.2e6
    assert counts["wait"] >= 5 * 150


@pytest.mark.parametrize("internal", [True, False])
def test_both_walks_give_the_stack_that_python_gives(sampler: NativeSampler, internal: bool) -> None:
    if sampler._native.use_internal_walk(internal) is not internal:
        pytest.skip("this version has the public walk only")
    try:
        seen: set[tuple[str, ...]] = set()

        def generator() -> Iterator[None]:
            while True:
                burn(0.01)
                yield

        def outer() -> None:
            items = generator()
            for _ in range(20):
                next(items)

        sampler.start("cpu")
        outer()
        sampler.stop()
        for stack, _, _, _ in sampler.drain(False).totals:
            seen.add(tuple(code.co_name for code in stack.codes)[:4])
            assert len(stack.codes) == len(stack.instructions)
            assert all(
                0 <= lasti < len(code.co_code) for code, lasti in zip(stack.codes, stack.instructions, strict=True)
            )
        me = sys._getframe().f_code.co_name
        assert ("burn", "generator", "outer", me) in seen
    finally:
        sampler._native.use_internal_walk(True)


def test_the_main_thread_is_asked_without_a_signal(sampler: NativeSampler) -> None:
    assert sampler._native.needs_signal() is False
    assert sampler.refusal is None
    sampler.start("cpu")
    while sampler._native.status()["answered"] < 50:
        spin(0.01)
    status = sampler._native.status()
    sampler.stop()
    assert status["reach"] == "pending call"
    assert status["attached"] is False


def test_the_interval_can_change_while_it_runs(sampler: NativeSampler) -> None:
    sampler.interval_usec = 10_000
    sampler.start("cpu")
    began = time.monotonic()
    spin(0.3)
    elapsed = time.monotonic() - began
    slow = drained(sampler)[1]["spin"]
    sampler.interval_usec = 500
    spin(0.3)
    fast = drained(sampler)[1]["spin"]
    sampler.stop()
    assert slow <= 100 * elapsed + 10
    # Of 600; on a busy machine ticks are missed.
    assert fast >= 60


def test_a_long_interval_does_not_delay_the_end(sampler: NativeSampler) -> None:
    sampler.interval_usec = 10_000_000
    sampler.start("wall")
    time.sleep(0.05)
    began = time.monotonic()
    sampler.stop()
    assert time.monotonic() - began < 1


@pytest.mark.timing
def test_raw_samples_are_at_most_a_thousand_a_second(sampler: NativeSampler) -> None:
    sampler.interval_usec = 100
    sampler.drain(False)
    sampler.start("cpu")
    sampler.drain(True)
    spin(0.5)
    sampler.stop()
    samples = sampler.drain(True).samples
    assert 200 <= len(samples) <= 560
    assert sum(sample.weight for sample in samples) == pytest.approx(500_000, rel=0.1)
    assert [sample.milliseconds for sample in samples] == sorted(sample.milliseconds for sample in samples)


def test_a_second_sampler_is_refused(sampler: NativeSampler) -> None:
    from rbkit_websocket.profilers.aggregate import CpuProfiler

    sampler.start("cpu")
    profiler = CpuProfiler(sampler._host)
    assert profiler.native == "yes"
    profiler.start()
    try:
        assert profiler.native == "no: another native sampler runs in this process; a Python thread samples at 100 Hz"
        assert profiler.running
    finally:
        profiler.stop()


@pytest.mark.smoke
def test_frames_are_numbered_by_line(sampler: NativeSampler) -> None:
    """As the interpreter's own table of lines has it, for every instruction that was met."""
    sampler.interval_usec = 100
    sampler.start("wall")
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        statistics.linear_regression(range(50), range(50))
        textwrap.wrap("one line after the other " * 20, 30)
    sampler.stop()
    stacks = [stack for stack, _, _, _ in sampler.drain(False).totals]
    frames, numbers = number_frames(stacks)
    assert len({(id(code), line) for code, line in frames}) == len(frames) > 20
    assert numbers[0][0] == 0
    for stack, indices in zip(stacks, numbers, strict=True):
        wanted = [(code, code_line(code, place)) for code, place in zip(stack.codes, stack.instructions, strict=True)]
        found = [frames[index] for index in indices]
        assert all(code is other and line == same for (code, line), (other, same) in zip(found, wanted, strict=True))
    assert {index for indices in numbers for index in indices} == set(range(len(frames)))


def test_only_stacks_are_numbered() -> None:
    assert number_frames([]) == ([], [])
    for wrong, words in ((None, "a list of stacks is wanted"), ([None], "a stack is wanted, not NoneType")):
        with pytest.raises(TypeError, match=words):
            number_frames(wrong)  # type: ignore[arg-type]


def test_stacks_beyond_the_bound_are_lost_and_counted(sampler: NativeSampler) -> None:
    """20,000 stacks are kept; functions made on the fly are all different ones."""
    sampler.interval_usec = 100
    sampler.start("cpu")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        space: dict[str, Callable[[], None]] = {}
        exec("def fresh():\n for _ in range(300): pass", space)
        for _ in range(5):
            space["fresh"]()
    sampler.stop()
    drainage = sampler.drain(False)
    assert drainage.lost_usec >= 0
    assert sampler._native.status()["stacks"] <= 20_000
    assert "fresh" in names(drainage.totals)
