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
from typing import Any

import pytest
from support.embeddedpeer import unpack
from support.native import drained, names, native
from support.waiting import scaled

from rbkit_websocket.profilers.cpu import fold
from rbkit_websocket.profilers.cpu.fold import folding
from rbkit_websocket.profilers.cpu.native import NativeSampler

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
    sampler.start()
    used = time.thread_time()
    spin(1.0)
    used = time.thread_time() - used
    sampler.stop()
    weights, counts = drained(sampler, "cpu")
    assert weights["spin"] == pytest.approx(used * 1e6, rel=0.05)
    # A tick that comes while another process has the processor finds the thread where it was: on a busy machine there
    # are more ticks than CPU time, never fewer.
    assert counts["spin"] >= 0.95 * used * 1000


@pytest.mark.timing
def test_known_shares_are_found_within_two_points(sampler: NativeSampler) -> None:
    took: Counter[str] = Counter()
    functions = (seventy, twenty, ten)
    sampler.start()
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
    sampler.start()
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
    sampler.start()
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
    weights, counts = drained(sampler, clock)
    assert weights["burn"] == pytest.approx((elapsed if clock == "wall" else used[0]) * 1e6, rel=0.1)
    # Only where this process has a processor to itself can it be looked at that often.
    assert counts["burn"] >= 150 * used[0] * used[0] / elapsed


@pytest.mark.timing
def test_a_thread_at_rest_costs_no_look(sampler: NativeSampler) -> None:
    ended = threading.Event()
    threads = [threading.Thread(target=ended.wait, args=(20,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    sampler.start()
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

        sampler.start()
        outer()
        sampler.stop()
        for stack, *_ in sampler.drain(None).totals:
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
    sampler.start()
    while sampler._native.status()["answered"] < 50:
        spin(0.01)
    status = sampler._native.status()
    sampler.stop()
    assert status["reach"] == "pending call"
    assert status["attached"] is False


def test_the_interval_can_change_while_it_runs(sampler: NativeSampler) -> None:
    sampler.interval_usec = 10_000
    sampler.start()
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
    sampler.start()
    time.sleep(0.05)
    began = time.monotonic()
    sampler.stop()
    assert time.monotonic() - began < scaled(1)


@pytest.mark.timing
def test_raw_samples_are_at_most_a_thousand_a_second(sampler: NativeSampler) -> None:
    sampler.interval_usec = 100
    sampler.drain(None)
    sampler.start()
    sampler.drain("cpu")
    spin(0.5)
    sampler.stop()
    samples = sampler.drain("cpu").samples
    assert 200 <= len(samples) <= 560
    assert sum(sample.cpu for sample in samples) == pytest.approx(500_000, rel=0.1)
    assert [sample.milliseconds for sample in samples] == sorted(sample.milliseconds for sample in samples)


def test_a_shorter_interval_counts_at_once(sampler: NativeSampler) -> None:
    sampler.interval_usec = 30_000_000
    sampler.start()
    sampler.interval_usec = 1000
    spin(0.3)
    sampler.stop()
    assert drained(sampler)[1]["spin"] > 20


def test_a_second_sampler_is_refused(sampler: NativeSampler) -> None:
    from rbkit_websocket.profilers.cpu.aggregate import CpuProfiler

    sampler.start()
    profiler = CpuProfiler(sampler._host)
    assert profiler.native.startswith("yes")
    profiler.start()
    try:
        assert profiler.native == "no: another native sampler runs in this process; a Python thread samples at 100 Hz"
        assert profiler.running
    finally:
        profiler.stop()


@pytest.mark.smoke
def test_c_and_python_fold_samples_to_the_same(sampler: NativeSampler) -> None:
    """Lines as the interpreter's own table has them, for every instruction that was met."""
    sampler.interval_usec = 100
    parts = []
    for _ in range(2):
        sampler.start()
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            statistics.linear_regression(range(50), range(50))
            textwrap.wrap("one line after the other " * 20, 30)
        sampler.stop()
        parts.append(sampler.drain(None).totals)
    stacks = [stack for part in parts for stack, *_ in part]
    assert len({stack.codes for stack in stacks}) > 4
    # As of requests: a name may be another object in another part.
    named = [(stack, "".join(["GET /\u00e9", "\udc80"]), 10_000_000, 9, 2, False) for stack in stacks[:3]]
    waiting = [(stack, name, wall, 0, count, True) for stack, name, wall, _, count, _ in named]
    both = [*parts, [], named, named, waiting]
    for cpu_clock in (False, True):
        native, plain = folding().fold(both, cpu_clock), fold.fold_plainly(both, cpu_clock)
        assert [unpack(part) for part in native[:2]] == [unpack(part) for part in plain[:2]]
        assert native == plain


def test_many_names_of_one_stack_take_their_time_each(sampler: NativeSampler) -> None:
    """Not the square of their number: whoever asks for paths that are none makes as many names as may be."""
    make, native = folding()
    stack = make(7, (burn.__code__, 0))
    entries = [(stack, f"GET /{number}", 1, 0, 1, False) for number in range(64_000)]
    began = time.thread_time()
    native([entries], False)
    assert time.thread_time() - began < scaled(1.0), "some 30 ms; the square would be seconds"


def test_the_name_of_a_file_may_be_of_a_class_of_its_own() -> None:
    class Name(str):
        __slots__ = ()

    make, native = folding()
    code = compile("pass", Name("/srv/\u00e9.py"), "exec")
    frames, _, _ = native([[(make(7, (code, 0)), None, 1, 0, 1, False)]], False)
    assert type(code.co_filename) is Name
    assert unpack(frames)[0][2] == "/srv/\u00e9.py"


def test_what_others_saw_is_folded_as_well(sampler: NativeSampler) -> None:
    parts = (burn.__code__, 0, spin.__code__, 4)
    make, native = folding()
    weights = ((7, None, 3, True), (8, None, 4, False), (7, "GET /", 2, False), (7, None, 1, False))
    entries = [[(make(thread, parts), name, wall, 5, 1, waiting) for thread, name, wall, waiting in weights]]
    frames, stacks, threads = native(entries, False)
    assert threads == {7, 8}
    assert [
        (stack["thread"], stack["request"], stack["wall_us"], stack["waiting"]) for stack in unpack(stacks)
    ] == sorted(weights, key=lambda weight: -weight[2])
    assert {(stack["cpu_us"], stack["weight_us"] - stack["wall_us"]) for stack in unpack(stacks)} == {(5, 0)}
    assert all(stack["frames"] == [0, 1] for stack in unpack(stacks))
    assert [frame[0] for frame in unpack(frames)] == ["burn", "spin"]
    assert (frames, stacks, threads) == fold.fold_plainly(
        [[(fold.PlainStack(stack.thread, parts), *rest) for stack, *rest in entries[0]]], False
    )
    assert native([], True) == fold.fold_plainly([], True) == (b"\x90", b"\x90", set())
    assert len(make(7, parts * 500).codes) == 257


@pytest.mark.parametrize(
    "wrong",
    [None, [None], [[None]], [[(None, None, 1, 1, 1, False)]], "name", "weight", "below", "huge", "flag"],
    ids=str,
)
def test_what_is_no_sample_is_refused(wrong: Any) -> None:
    make, native = folding()
    stack = make(7, (burn.__code__, 0))
    entry = {
        "name": (stack, 5, 1, 1, 1, False),
        "weight": (stack, None, 1, 1.5, 1, False),
        "below": (stack, None, 1, -1, 1, False),
        "huge": (stack, None, 1 << 70, 1, 1, False),
        "flag": (stack, None, 1, 1, 1, 1),
    }.get(wrong if isinstance(wrong, str) else "")
    with pytest.raises((TypeError, ValueError, OverflowError)):
        native(wrong if entry is None else [[entry]], False)
    for parts in ((None, 0), (burn.__code__, None), (burn.__code__, 0, burn.__code__)):
        with pytest.raises(TypeError, match="a code object and a number each"):
            make(7, parts)


def test_stacks_beyond_the_bound_are_lost_and_counted(sampler: NativeSampler) -> None:
    """20,000 stacks are kept; functions made on the fly are all different ones."""
    sampler.interval_usec = 100
    sampler.start()
    until = time.monotonic() + 1
    while time.monotonic() < until:
        space: dict[str, Callable[[], None]] = {}
        exec("def fresh():\n for _ in range(300): pass", space)
        for _ in range(5):
            space["fresh"]()
    sampler.stop()
    drainage = sampler.drain(None)
    assert drainage.lost_usec >= 0
    assert sampler._native.status()["stacks"] <= 20_000
    assert "fresh" in names(drainage.totals)
