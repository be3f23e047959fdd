"""What each feature does with what it is given, without a server: no thread, no socket."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from support.native import native_host
from support.shapes import check_answer
from support.waiting import wait_until

from rbkit_websocket.profilers.base import Host
from rbkit_websocket.profilers.greenlets.registry import GreenletRegistry
from rbkit_websocket.protocol.codec import unpack
from rbkit_websocket.server.cpu_profiling import CpuProfiling
from rbkit_websocket.server.dispatch import Commands
from rbkit_websocket.server.features import cpu, greenlets, heap, memory, process
from rbkit_websocket.server.lingering import Lingering
from rbkit_websocket.server.memory_profiling import MemoryProfiling
from rbkit_websocket.server.originals import AppThread, make_host
from rbkit_websocket.server.publisher import Publisher
from rbkit_websocket.server.scheduler import Job


class Profiler:
    """A CPU profiler that takes no samples."""

    def __init__(self) -> None:
        self.running = False
        self.adds_up = True
        self.clock = self.next_clock = "cpu"
        self.sampler = SimpleNamespace(interval_usec=1000, failure=None)
        self.wait_sampler = SimpleNamespace(wanted=False)

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def choose_clock(self) -> None:
        self.clock = self.next_clock

    def interval(self) -> dict[str, int]:
        return {"interval_us": self.sampler.interval_usec, "effective_interval_us": self.sampler.interval_usec}


@pytest.fixture
def host() -> Iterator[Host]:
    with native_host() as host:
        yield host


class Asker:
    """Commands of one feature, asked for by their text; each answer is what the table says."""

    def __init__(self, handlers: dict[str, Any]) -> None:
        self._commands = Commands(lambda client, polls: None)
        self._commands.register(handlers)

    def __call__(self, text: str, client: str = "one") -> Any:
        answer = self._commands.answer(text, client)
        if not isinstance(answer, bytes):
            job = answer
            try:
                while True:
                    next(job)
            except StopIteration as end:
                answer = end.value
        name = text.split()[0]
        check_answer("error" if b"error" in answer[:8] else name, answer)
        return answer if answer == b"ok" else unpack(answer)


@pytest.fixture
def profiling() -> CpuProfiling:
    return CpuProfiling(Profiler(), lambda: False, Lingering(10.0))  # type: ignore[arg-type]


def test_polling_takes_samples_and_publishes_none(profiling: CpuProfiling) -> None:
    ask = Asker(cpu.commands(profiling))
    state = ask("start_cpu_polling")
    assert (state["running"], state["events"]) == (True, False)
    assert ask("cpu_events on")["events"]
    assert ask("stop_cpu_profiling") == b"ok"
    assert not profiling.profiler.running
    assert not profiling.events


def test_the_clock_is_that_of_the_next_start(profiling: CpuProfiling) -> None:
    ask = Asker(cpu.commands(profiling))
    ask("use_wall_time")
    ask("start_cpu_profiling")
    ask("use_cpu_time")
    assert profiling.profiler.clock == "wall"
    assert ask("start_cpu_profiling") == b"ok"
    assert profiling.profiler.clock == "wall", "it had begun"


def test_the_shortest_interval_is_in_force_until_its_client_goes(profiling: CpuProfiling) -> None:
    ask = Asker(cpu.commands(profiling))
    assert ask("set_cpu_interval 5000", "one")["interval_us"] == 5000
    assert ask("set_cpu_interval 500", "two")["interval_us"] == 500
    assert ask("goodbye", "two") == {}
    assert profiling.profiler.sampler.interval_usec == 5000
    assert ask("goodbye", "one") == {}
    assert profiling.profiler.sampler.interval_usec == 1000


def test_waits_are_sampled_while_one_client_wishes_it(profiling: CpuProfiling) -> None:
    ask = Asker(cpu.commands(profiling))
    assert ask("wait_profile on", "one") == {"wanted": True, "active": False}
    ask("start_cpu_polling")
    assert ask("wait_profile off", "two") == {"wanted": False, "active": True}
    assert ask("wait_profile off", "one") == {"wanted": False, "active": False}


def test_what_a_command_started_ends_without_an_audience_and_what_the_application_did_does_not(
    profiling: CpuProfiling,
) -> None:
    ask = Asker(cpu.commands(profiling))
    ask("start_cpu_polling")
    profiling.end_without_audience()
    assert not profiling.profiler.running
    profiling.start(True, "wall", 2000)
    ask("start_cpu_polling")
    profiling.end_without_audience()
    assert profiling.profiler.running
    assert profiling.profiler.sampler.interval_usec == 2000
    profiling.stop()


def test_a_sampler_that_failed_is_told_of_once(profiling: CpuProfiling) -> None:
    profiling.start_polling()
    profiling.profiler.sampler.failure = failure = ValueError("odd")
    assert profiling.check() is failure
    assert profiling.check() is None
    assert not profiling.profiler.running


def test_memory_is_counted_and_traced_without_a_server(host: Host) -> None:
    profiling = MemoryProfiling(host, GreenletRegistry(host), Lingering(10.0))
    ask = Asker(memory.commands(profiling))
    try:
        first = ask("memory_profile")
        assert first["total_live"] > 1000
        assert profiling.on
        assert not profiling.published
        assert ask("start_memory_profile") == b"ok"
        assert profiling.published
        assert ask(f"memory_profile {first['cursor']}")["span_us"] > 0
        assert ask("trace_objects no.such.thing")["patterns"] == ["no.such.thing"]
        (stats,) = profiling.stats_event(float("inf"), True)
        assert unpack(stats)[0] == 6
        profiling.end_without_audience()
        assert not profiling.published
        assert profiling.on, "somebody has asked for a profile"
    finally:
        profiling.stop()
        profiling.stop_counting()
    assert not profiling.on


def test_stacks_are_told_and_requests_watched_for_them(host: Host) -> None:
    watched: list[bool] = []
    handlers = greenlets.commands(host, GreenletRegistry(host), None, lambda: False, lambda: watched.append(True))
    ask = Asker(handlers)
    ended = threading.Event()
    other = threading.Thread(target=ended.wait, name="somebody-waits")
    other.start()
    try:
        names = [thread["name"] for thread in ask("stacks")["threads"]]
    finally:
        ended.set()
        other.join()
    assert "somebody-waits" in names
    assert watched == [True]
    assert ask("blocked")["error"] == "not_applicable"


class Heap:
    """Commands of the heap, and the jobs that they leave behind."""

    def __init__(self, host: Host, audience: Callable[[], bool]) -> None:
        self.jobs: list[Job] = []
        self.published: list[bytes] = []
        self.snapshots = heap.Snapshots(host, self.jobs.append, fork=False, pause=True, runtime_dir=None)
        self.dumps = heap.Dumps(self.snapshots, Publisher(self.published.append), audience, 10**12)
        self.ask = Asker(heap.commands(self.snapshots, self.dumps))

    def work(self) -> None:
        """Some turns of each job."""
        for job in list(self.jobs) * 50:
            if job in self.jobs and next(job, self) is self:
                self.jobs.remove(job)

    def close(self) -> None:
        for job in self.jobs:
            job.close()


@pytest.fixture
def dumping(host: Host) -> Iterator[Heap]:
    made = Heap(host, lambda: True)
    yield made
    made.close()


@pytest.mark.small_heap
def test_a_snapshot_is_made_by_jobs_and_pulled_in_chunks(dumping: Heap) -> None:
    ask = dumping.ask
    assert ask("snapshot_status 1")["error"] == "unknown_snapshot"
    begun = ask("snapshot_start")
    assert (begun["id"], begun["state"]) == (1, "running")
    assert ask("snapshot_start")["id"] == 1, "it is the one that is being made"
    assert ask("snapshot_chunk 1 0")["state"] == "running"

    def done() -> dict[str, Any] | None:
        dumping.work()
        facts: dict[str, Any] = ask("snapshot_status 1")
        return facts if facts["state"] == "done" else None

    facts = wait_until(done, "the snapshot", timeout=30)
    chunks = [ask(f"snapshot_chunk 1 {number}")["objects"] for number in range(facts["chunks"])]
    assert sum(map(len, chunks)) == facts["objects"]
    assert ask(f"snapshot_chunk 1 {facts['chunks']}")["error"] == "bad_argument"


@pytest.mark.small_heap
def test_of_finished_snapshots_the_youngest_are_kept(dumping: Heap) -> None:
    for number in (1, 2, 3):
        assert dumping.ask("snapshot_start")["id"] == number

        def done(number: int = number) -> bool:
            dumping.work()
            return bool(dumping.ask(f"snapshot_status {number}")["state"] == "done")

        wait_until(done, "the snapshot", timeout=30)
    states = [dumping.ask(f"snapshot_status {number}").get("state") for number in (1, 2, 3)]
    assert states == [None, "done", "done"]


@pytest.mark.small_heap
def test_a_dump_is_published_to_an_audience_alone(host: Host) -> None:
    unheard = Heap(host, lambda: False)
    assert unheard.ask("objectspace_snapshot") == b"ok"
    assert (unheard.published, unheard.jobs) == ([], [])
    heard = Heap(host, lambda: True)
    dump = heard.dumps.publish()

    def is_out() -> bool:
        heard.work()
        return next(dump, "all of it") == "all of it"

    try:
        wait_until(is_out, "the dump", timeout=30)
    finally:
        heard.close()
    events = [event for message in heard.published for event in unpack(message)[2]]
    assert {(event[0], event[10]) for event in events} == {(5, 1)}
    assert sum(len(event[2]) for event in events) == events[0][11]


def test_the_process_tells_who_it_is_and_collects(host: Host) -> None:
    woken: list[bool] = []
    app = AppThread()
    identity = process.Identity("some-id", "shop")
    identity.serve_for("blog")
    identity.serve_for("shop")
    try:
        host = make_host(app)
        cpu_profiling = CpuProfiling(Profiler(), lambda: False, Lingering(10.0))  # type: ignore[arg-type]
        memory_profiling = MemoryProfiling(host, GreenletRegistry(host), Lingering(10.0))
        profiler: Any = cpu_profiling.profiler
        profiler.native = "no: this is a test"
        ask = Asker(
            process.commands(
                host,
                app,
                identity,
                GreenletRegistry(host),
                lambda: process.handshake(identity, cpu_profiling, memory_profiling, 10.0, fork=False),
                lambda: woken.append(True),
            )
        )
        told = ask("handshake")[2]
        assert (told["pid"], told["application"], told["server_id"]) == (os.getpid(), "shop, blog", "some-id")
        assert (told["native"], told["linger"], told["clock_type"]) == ("no: this is a test", "10", "cpu")
        status = ask("status")
        assert (status["pid"], status["application"]) == (os.getpid(), "shop, blog")
        before = gc.get_stats()[-1]["collections"]
        assert ask("trigger_gc") == b"ok"
        assert gc.get_stats()[-1]["collections"] > before
        assert woken == [True]
    finally:
        app.close()
