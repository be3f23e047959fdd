"""The CPU sampler and what becomes of its samples."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import pytest
from support.embeddedpeer import profile_of, unpack
from support.waiting import scaled, wait_until

import rbkit_websocket
from rbkit_websocket.http.pages import respond_at_mount
from rbkit_websocket.profilers.base import Host, code_line
from rbkit_websocket.profilers.cpu import aggregate, sampler
from rbkit_websocket.profilers.cpu.aggregate import CpuProfiler
from rbkit_websocket.profilers.cpu.events import SampleEvents
from rbkit_websocket.profilers.cpu.fold import PlainStack
from rbkit_websocket.profilers.cpu.sampler import COLLECTOR, CpuSampler, Sample, _Looker, walk
from rbkit_websocket.profilers.cpu.watching import Watching
from rbkit_websocket.profilers.process.gcstats import GcWatch
from rbkit_websocket.profilers.requests.tracker import track
from rbkit_websocket.protocol.codec import array_header
from rbkit_websocket.server.originals import AppThread, make_host


@pytest.fixture
def host() -> Iterator[Host]:
    app = AppThread()
    yield make_host(app)
    app.close()


@pytest.fixture(params=["python", "native"])
def profiler(request: pytest.FixtureRequest, host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[CpuProfiler]:
    if request.param == "python":
        monkeypatch.setenv("RBKIT_NATIVE", "0")
    profiler = CpuProfiler(host)
    if request.param == "native" and profiler.native.startswith("no"):
        pytest.skip(f"the native sampler is not used: {profiler.native}")
    yield profiler
    profiler.stop()
    assert profiler.sampler.failure is None


def burn(seconds: float) -> None:
    """Uses so much CPU time, and takes at least as long, on a busy machine too."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(500))


def nap(seconds: float) -> None:
    time.sleep(seconds)


def weight_of(profile: dict[str, Any], name: str, by: str = "weight_us") -> int:
    return sum(
        stack[by]
        for stack in profile["stacks"]
        if any(profile["frames"][index][0] == name for index in stack["frames"])
    )


def in_thread(target: Callable[[], object], name: str) -> threading.Thread:
    thread = threading.Thread(target=target, name=name)
    thread.start()
    return thread


@pytest.mark.smoke
def test_every_sample_weighs_both_clocks(profiler: CpuProfiler) -> None:
    profiler.start()
    began, used = time.monotonic(), time.thread_time()
    burn(0.3)
    burnt = time.thread_time() - used
    in_c = time.monotonic()
    nap(0.3)
    slept = time.monotonic() - in_c
    profile = profile_of(profiler)
    elapsed = time.monotonic() - began
    # On a busy machine looks come late, and what lies between two of them is charged to the later one.
    assert weight_of(profile, "burn", "cpu_us") == pytest.approx(burnt * 1e6, rel=0.2, abs=scaled(0.03) * 1e6)
    assert weight_of(profile, "nap", "wall_us") == pytest.approx(slept * 1e6, rel=0.2, abs=scaled(0.03) * 1e6)
    assert weight_of(profile, "nap", "cpu_us") < 0.2 * weight_of(profile, "nap", "wall_us")
    for stack in profile["stacks"]:
        assert stack["weight_us"] == stack["cpu_us"]
        assert stack["waiting"] is False
    for key in ("wall_us", "cpu_us", "weight_us"):
        assert profile[key] == sum(stack[key] for stack in profile["stacks"])
    assert profile["waiting_us"] == 0
    assert profile["wall_us"] >= (0.9 * elapsed - scaled(0.03)) * 1e6
    # The other clock is what old readers and published samples are told, not another profile.
    profiler.next_clock = "wall"
    profiler.choose_clock()
    again = profile_of(profiler, 0)
    assert again["clock"] == "wall"
    assert again["cpu_us"] >= profile["cpu_us"]
    assert all(stack["weight_us"] == stack["wall_us"] for stack in again["stacks"])


def collect() -> None:
    gc.collect()


def test_a_collection_has_a_frame_of_its_own(profiler: CpuProfiler) -> None:
    watch = GcWatch()
    heap = [[number] for number in range(500_000)]
    watch.start()
    profiler.start()
    try:
        took = time.monotonic()
        for _ in range(4):
            collect()
        took = time.monotonic() - took
        burn(0.02)
        profile = profile_of(profiler)
    finally:
        watch.stop()
        profiler.stop()
    assert heap
    assert not [callback for callback in gc.callbacks if "rbkit" in str(callback)]
    collections = 0
    for stack in profile["stacks"]:
        innermost, *callers = [profile["frames"][index][:3] for index in stack["frames"]]
        if innermost == ["(garbage collection)", "(garbage collection)", "<interpreter>"]:
            if callers[0][0] == "collect":
                collections += stack["wall_us"]
        else:
            assert innermost[0] not in ("_callback", "on_collection"), callers[0]
    assert collections == pytest.approx(took * 1e6, rel=0.1), profile


def test_a_collection_stands_where_it_happened_however_late_the_look_is(host: Host) -> None:
    looker = _Looker(host)
    heap = [[number] for number in range(200_000)]
    gc.callbacks.insert(0, looker.on_collection)
    try:
        collect()
    finally:
        gc.callbacks.remove(looker.on_collection)
    assert heap
    samples: list[Sample] = []
    in_thread(lambda: samples.extend(looker.look()), "look").join()
    found = [sample.stack[0:4:2] for sample in samples if sample.stack[0] is COLLECTOR]
    assert found == [(COLLECTOR, collect.__code__)]


def test_a_look_while_a_collection_is_noted_tells_of_it_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    looker = _Looker(host)
    samples: list[Sample] = []

    def look() -> None:
        in_thread(lambda: samples.extend(looker.look()), "look").join()

    def interrupted_walk(frame: FrameType) -> Any:
        if threading.current_thread() is threading.main_thread() and not samples:
            look()
        return walk(frame)

    monkeypatch.setattr(sampler, "walk", interrupted_walk)
    monkeypatch.setattr(sampler, "PACKAGE", "")  # functions of this file are below the callback too
    monkeypatch.setattr(sampler, "_BRIEF", 0.0)
    heap = [[number] for number in range(200_000)]
    marks: list[float] = []

    def note(_phase: str, _info: object) -> None:
        marks.append(time.monotonic())

    gc.disable()  # this collection alone
    gc.callbacks[:0] = [note, looker.on_collection]
    try:
        collect()
    finally:
        gc.callbacks.remove(note)
        gc.callbacks.remove(looker.on_collection)
        gc.enable()
    assert heap
    look()
    (found,) = [sample for sample in samples if sample.stack[0] is COLLECTOR]
    assert found.stack[2] is collect.__code__
    began, ended = marks
    assert found.wall / 1e6 > 0.9 * (ended - began)


def test_the_cost_of_watching_is_told(profiler: CpuProfiler) -> None:
    profiler.start()
    before = profile_of(profiler)["watching"]
    assert set(before) == {"since", "until", "server_us", "sampler_us", "application_us"}
    burn(0.3)
    after = profile_of(profiler)["watching"]
    assert after["since"] == before["since"]
    assert after["until"] > before["until"]
    window = (after["until"] - before["until"]) * 1000
    assert 0 < after["sampler_us"] - before["sampler_us"] < window
    assert 0 <= after["application_us"] - before["application_us"] < 0.2 * window
    profiler.stop()
    assert profile_of(profiler)["watching"]["sampler_us"] >= after["sampler_us"], "what has been spent stays spent"


def test_what_runs_for_a_session_is_a_cost_of_watching() -> None:
    watching = Watching()

    def cost(*codes: CodeType) -> float:
        before = watching.figures((0, 0))["application_us"]
        watching.add([(PlainStack(1, tuple(part for code in codes for part in (code, 0))), 5)])
        return watching.figures((0, 0))["application_us"] - before

    view = burn.__code__
    noted = track(lambda environ, start_response: None).__code__
    assert cost(view) == 0
    assert cost(view, noted) == 0
    assert cost(CpuProfiler.profile.__code__, view) == 5
    assert cost(respond_at_mount.__code__) == 5
    demo = os.path.join(os.path.dirname(rbkit_websocket.__file__), "cli", "demo_app.py")
    assert cost(compile("", demo, "exec")) == 0


@pytest.mark.smoke
def test_cpu_clock_weighs_work_and_not_waiting(profiler: CpuProfiler) -> None:
    ended = threading.Event()

    def wait_for_it() -> None:
        ended.wait(10)

    thread = in_thread(wait_for_it, "waiter")
    profiler.next_clock = "cpu"
    profiler.start()
    used = time.thread_time()
    burn(min(scaled(0.5), 3))  # the less often a busy machine lets the sampler look, the longer
    used = time.thread_time() - used
    profile = profile_of(profiler)
    ended.set()
    thread.join()
    assert weight_of(profile, "burn") == pytest.approx(used * 1e6, rel=0.2)
    assert weight_of(profile, "wait_for_it") < 50_000
    assert profile["clock"] == "cpu"
    assert profile["running"] is True


def test_wall_clock_weighs_every_thread(profiler: CpuProfiler) -> None:
    ended = threading.Event()

    def wait_for_it() -> None:
        ended.wait(10)

    thread = in_thread(wait_for_it, "waiter")
    profiler.next_clock = "wall"
    profiler.start()
    began = time.monotonic()
    burn(0.4)
    profile = profile_of(profiler)
    elapsed = (time.monotonic() - began) * 1e6
    ended.set()
    thread.join()
    assert weight_of(profile, "wait_for_it") == pytest.approx(elapsed, rel=0.3)
    assert weight_of(profile, "burn") == pytest.approx(elapsed, rel=0.3)
    assert {"MainThread", "waiter"} <= set(profile["threads"].values())


def test_a_thread_that_lives_between_two_looks_of_the_cpu_clock_is_seen(profiler: CpuProfiler) -> None:
    profiler.start()
    for _ in range(5):
        in_thread(lambda: burn(0.06), "short").join()
    assert weight_of(profile_of(profiler), "burn") > 150_000


def test_frames_and_stacks_have_the_documented_shape(profiler: CpuProfiler) -> None:
    profiler.start()
    began = time.time()
    burn(0.1)
    profile = profile_of(profiler)
    took = (time.time() - began) * 1000
    assert set(profile) == {
        *("cursor", "running", "clock", "interval_us", "effective_interval_us", "since", "until"),
        *(
            "samples",
            "wall_us",
            "cpu_us",
            "waiting_us",
            "weight_us",
            "lost_us",
            "watching",
            "frames",
            "stacks",
            "threads",
            "unseen",
        ),
    }
    assert profile["weight_us"] == sum(stack["weight_us"] for stack in profile["stacks"])
    assert profile["samples"] == sum(stack["count"] for stack in profile["stacks"])
    assert 0 <= profile["until"] - profile["since"] < took + 100
    stack = profile["stacks"][0]
    assert set(stack) == {"wall_us", "cpu_us", "weight_us", "waiting", "count", "thread", "request", "frames"}
    assert stack["request"] is None
    name, label, file, first_line, line = next(frame for frame in profile["frames"] if frame[0] == "burn")
    assert (name, label, file, first_line) == ("burn", "burn", __file__, burn.__code__.co_firstlineno)
    assert first_line < line <= first_line + 4


def test_two_clients_with_cursors_of_their_own_get_the_same_sum(profiler: CpuProfiler) -> None:
    profiler.start()
    first = profile_of(profiler)
    often, cursor = first["wall_us"], first["cursor"]
    for _ in range(5):
        burn(0.05)
        answer = profile_of(profiler, cursor)
        assert answer["lost_us"] == 0
        often += answer["wall_us"]
        cursor = answer["cursor"]
    profiler.stop()
    answer = profile_of(profiler, cursor)
    often += answer["wall_us"]
    assert answer["running"] is False
    everything = profile_of(profiler)
    assert everything["wall_us"] == often == everything["cursor"]
    assert profile_of(profiler, 0)["wall_us"] == often
    assert profile_of(profiler, everything["cursor"])["samples"] == 0


def test_what_is_no_longer_kept_is_told(profiler: CpuProfiler, monkeypatch: pytest.MonkeyPatch) -> None:
    profiler.start()
    burn(0.1)
    first = profile_of(profiler)
    monkeypatch.setattr(aggregate, "RETENTION", 0.0)
    burn(0.1)
    profiler.stop()
    monkeypatch.setattr(aggregate, "RETENTION", 300.0)
    answer = profile_of(profiler, 0)
    assert answer["lost_us"] + answer["wall_us"] == answer["cursor"]
    assert answer["lost_us"] >= first["wall_us"]


def test_a_cursor_of_another_server_gets_everything(profiler: CpuProfiler) -> None:
    profiler.start()
    burn(0.1)
    wait_until(lambda: profile_of(profiler)["samples"], "samples")
    answer = profile_of(profiler, 10**15)
    assert answer["samples"] > 0
    assert answer["lost_us"] == 0


def test_the_number_of_stacks_kept_is_bounded(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregate, "MAX_STACKS", 50)
    profiler = CpuProfiler(host)
    code = burn.__code__
    for number in range(500):
        profiler._feed([Sample(time.time() * 1000, 1, (code, number), 1000.0, 0.0, 1)])
        profiler._close_bucket()
    assert len(profiler._stacks) <= 51
    answer = profile_of(profiler, 0)
    assert answer["cursor"] == 500_000
    assert answer["lost_us"] + answer["wall_us"] == 500_000


def test_the_number_of_drained_stacks_and_entries_is_bounded(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    profiler = CpuProfiler(host)
    code = burn.__code__
    stacks = [profiler._folding.stack(1, (code, number)) for number in range(500)]
    monkeypatch.setattr(aggregate, "MAX_STACKS", 50)
    for stack in stacks:
        profiler._add_drained([(stack, None, 1000, 0, 1, False)])
        profiler._close_bucket()
    assert len(profiler._natives) <= 51
    assert 0 < len(profiler._buckets) == profiler._entries
    monkeypatch.setattr(aggregate, "MAX_STACKS", 10_000)
    monkeypatch.setattr(aggregate, "MAX_ENTRIES", 70)
    for number in range(10):
        profiler._add_drained(
            [(stack, name, 1000, 0, 1, False) for stack in stacks[:10] for name in (None, f"GET /{number}")]
        )
        profiler._add_drained([(stack, None, 1000, 0, 1, False) for stack in stacks[:10]])
        profiler._close_bucket()
    assert profiler._entries == sum(len(bucket) for bucket in profiler._buckets) == 60
    answer = profile_of(profiler, 0)
    assert answer["cursor"] == 800_000
    assert answer["lost_us"] + answer["wall_us"] == 800_000
    # What came in two parts has become one.
    assert answer["samples"] == 90
    assert sum(stack["count"] for stack in answer["stacks"] if stack["request"] is None) == 60


def test_our_own_threads_are_not_seen(profiler: CpuProfiler) -> None:
    profiler.next_clock = "wall"
    profiler.start()
    burn(0.1)
    profile = profile_of(profiler)
    assert all("profilers/cpu/sampler.py" not in frame[2] for frame in profile["frames"])


def test_start_and_stop_are_idempotent_and_leave_no_thread(host: Host) -> None:
    before = len(os.listdir("/proc/self/task"))
    sampler = CpuSampler(host)
    for _ in range(3):
        sampler.start()
        sampler.start()
        sampler.stop()
        sampler.stop()
    assert not host.own
    wait_until(lambda: len(os.listdir("/proc/self/task")) <= before, "the thread's end")


def test_a_long_interval_does_not_delay_the_end(host: Host) -> None:
    sampler = CpuSampler(host)
    sampler.interval_usec = 10_000_000
    sampler.start()
    began = time.monotonic()
    sampler.stop()
    assert time.monotonic() - began < scaled(0.5)


def sample(weight: float, threads: int = 1, thread: int = 7) -> Sample:
    code = burn.__code__
    return Sample(1_000_000.0, thread, (code, 0, code, 2), weight, weight / 2, threads)


def test_events_repeat_a_sample_by_its_weight_and_carry_the_rest() -> None:
    events = SampleEvents()
    assert len(events.pack([sample(8000)], 1000, "cpu")) == 4
    packed = events.pack([sample(10_400)], 1000, "wall")
    assert len(packed) == 10
    assert len(events.pack([sample(700)], 1000, "wall")) == 1
    event = unpack(packed[-1])
    frame = {12: "burn", 13: "burn", 6: __file__, 7: burn.__code__.co_firstlineno, 14: 1, 15: 7}
    assert event == {0: 9, 1: 1_000_000.0, 2: [frame, frame]}
    # Repeats stand an interval apart, so that a timeline shows them where they belong.
    assert [unpack(item)[1] for item in packed[-2:]] == [999_999.0, 1_000_000.0]


def test_events_thin_light_samples() -> None:
    events = SampleEvents()
    assert sum(len(events.pack([sample(250)], 1000, "wall")) for _ in range(100)) == 25


def test_events_are_at_most_a_thousand_a_second_however_many_threads() -> None:
    events = SampleEvents()
    second = [sample(10_000, 20, thread) for _ in range(100) for thread in range(20)]
    assert 980 <= len(events.pack(second, 1000, "wall")) <= 1000
    assert 980 <= len(SampleEvents().pack(second, 100, "wall")) <= 1000


def test_deep_recursion_is_cut_and_not_followed(profiler: CpuProfiler) -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        else:
            burn(0.1)

    profiler.start()
    deep(600)
    profile = profile_of(profiler)
    assert max(len(stack["frames"]) for stack in profile["stacks"]) == 257


@pytest.mark.parametrize("length", [0, 15, 16, 65535, 65536])
def test_array_headers_are_msgpacks(length: int) -> None:
    import msgpack

    assert msgpack.packb([None] * length)[: -length or None] == array_header(length)


def test_the_line_of_an_instruction_is_the_one_that_runs() -> None:
    frame = sys._getframe()
    lasti, line = frame.f_lasti, frame.f_lineno
    assert code_line(frame.f_code, lasti) == line
