"""The embedded server inside a monkey-patched process, asked by another process while the event loop is blocked."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.embeddedpeer import Peer
from support.native import native
from support.waiting import scaled, wait_until

PRELUDE = """
from gevent import monkey; monkey.patch_all()
import gc, os, sys, time, threading, logging
import gevent
from gevent import socket
from rbkit_websocket.options.table import Settings
from rbkit_websocket.server import current_server, ensure_embedded, stop_server
native_sleep = monkey.get_original("time", "sleep")
ready, go = gevent.event.Event(), gevent.event.Event()
address = ensure_embedded(Settings(name="shop"))
def stdin_line():
    return gevent.get_hub().threadpool.apply(sys.stdin.readline)
"""


@pytest.fixture
def run(runtime_dir: Path) -> Iterator[Callable[[str], tuple[subprocess.Popen[str], Peer]]]:
    """Starts a patched process that runs the code; it has printed its address."""
    with ExitStack() as stack:

        def start(code: str) -> tuple[subprocess.Popen[str], Peer]:
            body = PRELUDE.replace("import gevent\n", "import gevent, gevent.event\n") + textwrap.dedent(code)
            process = stack.enter_context(child(body))
            assert process.stdout is not None
            endpoint = process.stdout.readline().strip()
            assert endpoint, process.stderr and process.stderr.read()
            return process, stack.enter_context(Peer.at(endpoint))

        yield start


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[str], line: str = "go") -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


BLOCKED = """
def busy_culprit():
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        sum(range(1000))
def sleepy_culprit():
    native_sleep(1.5)
print(address.endpoint, flush=True)
stdin_line()
print("blocked", flush=True)
gevent.spawn({culprit}).join()
print("free", flush=True)
stdin_line()
"""


def names(profile: dict[str, Any], stack: dict[str, Any]) -> list[str]:
    return [profile["frames"][index][0] for index in stack["frames"]]


@pytest.mark.smoke
@pytest.mark.parametrize("culprit", ["busy_culprit", "sleepy_culprit"])
def test_it_answers_and_samples_while_the_loop_is_blocked(run: Any, culprit: str) -> None:
    process, peer = run(BLOCKED.format(culprit=culprit))
    peer.ask("use_wall_time")
    peer.ask("start_cpu_profiling")
    cursor = peer.map("cpu_profile")["cursor"]
    say(process)
    assert line_of(process) == "blocked"
    began = time.monotonic()
    answers = 0
    while time.monotonic() - began < 1.0:
        assert peer.handshake()["pid"] == process.pid
        answers += 1
    assert answers > 20
    stacks = peer.map("stacks")
    running = [greenlet for greenlet in stacks["greenlets"] if greenlet["state"] == "running"]
    assert [greenlet["name"] for greenlet in running if culprit in greenlet["name"]]
    assert any(frame[0] == culprit for greenlet in running for frame in greenlet["stack"])
    assert line_of(process) == "free"
    profile = peer.map(f"cpu_profile {cursor}")
    weights: dict[bool, int] = {True: 0, False: 0}
    for stack in profile["stacks"]:
        weights[culprit in names(profile, stack)] += stack["weight_us"]
    assert 1_200_000 < weights[True] < 1_900_000
    main = next(thread["id"] for thread in stacks["threads"] if thread["name"] == "MainThread")
    assert profile["threads"][main] == "MainThread"


def test_idle_time_of_a_worker_is_in_the_hub(run: Any) -> None:
    _, peer = run("print(address.endpoint, flush=True)\nstdin_line()")
    peer.ask("use_wall_time")
    peer.ask("start_cpu_profiling")

    def hub_samples() -> int:
        profile = peer.map("cpu_profile")
        return sum(
            stack["count"]
            for stack in profile["stacks"]
            if profile["frames"][stack["frames"][0]][:2] in (["run", "Hub.run"], ["run", "run"])
        )

    assert wait_until(hub_samples, "samples in the hub")


def test_a_collection_runs_in_the_applications_thread_or_without_it_when_blocked(run: Any) -> None:
    process, peer = run("""
        from gevent.monkey import get_original
        get_ident = get_original("_thread", "get_ident")
        main = get_ident()
        class Cycle:
            def __init__(self): self.me = self
            def __del__(self): print("main" if get_ident() == main else "other", flush=True)
        gc.disable()
        print(address.endpoint, flush=True)
        Cycle()
        gevent.spawn(print, "turning", flush=True)
        while stdin_line():
            Cycle()
            print("blocked", flush=True)
            native_sleep(1.5)
    """)
    assert line_of(process) == "turning"
    assert peer.ask("trigger_gc") == b"ok"
    assert line_of(process) == "main"
    say(process)
    assert line_of(process) == "blocked"
    began = time.monotonic()
    assert peer.ask("trigger_gc") == b"ok"
    assert 0.3 < time.monotonic() - began < 1.3
    assert line_of(process) == "other"


def test_log_lines_and_callbacks_come_in_the_main_thread(run: Any) -> None:
    process, peer = run("""
        from gevent.monkey import get_original
        get_ident = get_original("_thread", "get_ident")
        main = get_ident()
        class Handler(logging.Handler):
            def emit(self, record):
                print("log", get_ident() == main, "ZeroDivisionError" in record.getMessage(), flush=True)
        logging.getLogger("rbkit_websocket").addHandler(Handler())
        def callback(message):
            gevent.sleep(0)
            print("answer", get_ident() == main, flush=True)
        server = current_server()
        server.profiling.memory.start = lambda: 1 / 0
        server.respond_callback = callback
        print(address.endpoint, flush=True)
        stdin_line()
    """)
    assert peer.map("start_memory_profile")["error"] == "failed"
    assert sorted([line_of(process), line_of(process)]) == ["answer True", "log True True"]


def test_a_snapshot_is_whole_and_its_objects_die_in_the_main_thread(run: Any) -> None:
    process, peer = run("""
        from gevent.monkey import get_original
        get_ident = get_original("_thread", "get_ident")
        main = get_ident()
        class Short:
            alive = 0
            def __init__(self): Short.alive += 1
            def __del__(self):
                Short.alive -= 1
                if get_ident() != main: print("other thread", flush=True)
        ended = []
        def churn():
            while not ended:
                keep = [[Short()] for _ in range(200)]
                gevent.sleep(0.001)
        churner = gevent.spawn(churn)
        print(address.endpoint, flush=True)
        stdin_line()
        ended.append(True); churner.join()
        while Short.alive: gevent.sleep(0.01)
        print("done", flush=True)
        stdin_line()
    """)
    peer.subscribe()
    # One that is asked for before the subscription is known is not published.
    wait_until(lambda: peer.ask("objectspace_snapshot") == b"ok" and peer.quiet(0.1), "the subscription", timeout=20)
    assert peer.ask("objectspace_snapshot") == b"ok"
    read_dump(peer)
    say(process)
    assert line_of(process) == "done"


def read_dump(peer: Peer, timeout: float = 20.0) -> None:
    """Reads until all objects of one snapshot are there."""
    seen: dict[int, set[int]] = {}
    deadline = time.monotonic() + scaled(timeout)
    for message in peer.messages(timeout):
        for event in message[2]:
            if event[0] == 5:
                ids = seen.setdefault(event[10], set())
                ids |= {item[3] for item in event[2]}
                if len(ids) == event[11]:
                    return
        found = {snapshot: len(ids) for snapshot, ids in seen.items()}
        assert time.monotonic() < deadline, f"no snapshot came to its end: {found} objects"


def test_greenlets_are_listed_with_what_they_wait_on(run: Any) -> None:
    _, peer = run("""
        left, right = socket.socketpair()
        lock = threading.Lock(); lock.acquire()
        def reader(): left.recv(1)
        def sleeper(): time.sleep(100)
        def locker(): lock.acquire()
        def waiter(): threading.Event().wait()
        greenlets = [gevent.spawn(function) for function in (reader, sleeper, locker, waiter)]
        gevent.sleep(0)
        print(address.endpoint, flush=True)
        stdin_line()
    """)
    found = {greenlet["name"]: greenlet for greenlet in peer.map("stacks")["greenlets"]}
    waits = {name.partition(": ")[2]: greenlet["waiting_on"] for name, greenlet in found.items() if ": " in name}
    assert waits == {"reader": "socket", "sleeper": "sleep", "locker": "lock", "waiter": "lock"}
    hub = found["Hub"]
    assert set(hub) == {"id", "name", "thread", "state", "waiting_on", "age", "request", "request_age", "stack"}
    assert {found[name]["thread"] for name in found if name == "Hub" or ": " in name} == {hub["thread"]}
    assert found["Greenlet: sleeper"]["stack"][-1][0] == "sleeper"


def test_greenlets_whose_own_function_is_compiled_wait_and_do_not_run(run: Any) -> None:
    _, peer = run("""
        from gevent.event import Event
        from gevent.queue import Queue
        event, queue = Event(), Queue()
        waiting = [gevent.spawn(event.wait), gevent.spawn(queue.get)]
        waiting.append(gevent.spawn(waiting[0].join))
        gevent.sleep(0)
        print(address.endpoint, flush=True)
        stdin_line()
    """)
    # None of them has a frame of Python.
    found = [greenlet for greenlet in peer.map("stacks")["greenlets"] if greenlet["name"] == "Greenlet"]
    assert [greenlet["state"] for greenlet in found] == ["waiting"] * 3
    assert [greenlet["waiting_on"] for greenlet in found] == ["lock"] * 3
    assert [greenlet["stack"] for greenlet in found] == [[]] * 3


def test_concurrent_greenlets_get_one_server_and_a_gevent_fork_another(run: Any) -> None:
    process, _ = run("""
        stop_server()
        found = []
        jobs = [gevent.spawn(lambda: found.append(ensure_embedded(Settings(name="shop")))) for _ in range(10)]
        gevent.joinall(jobs)
        assert len(set(found)) == 1, found
        print(found[0].endpoint, flush=True)
        stdin_line()
        pid = os.fork()
        if not pid:
            assert current_server() is None
            child = ensure_embedded(Settings(name="shop"))
            print(child.endpoint, flush=True)
            stdin_line()
            print("stopped", stop_server(), flush=True)
            os._exit(0)
        print("waited", os.waitpid(pid, 0)[1], flush=True)
    """)
    say(process)
    with Peer.at(line_of(process)) as peer:
        assert peer.handshake()["pid"] != process.pid
        assert peer.ask("trigger_gc") == b"ok"
    say(process)
    assert line_of(process) == "stopped True"
    assert line_of(process) == "waited 0"
    assert process.wait(10) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_started_in_a_thread_of_gevents_pool_it_reaches_the_main_thread(run: Any) -> None:
    process, peer = run("""
        from gevent.monkey import get_original
        get_ident = get_original("_thread", "get_ident")
        main = get_ident()
        stop_server()
        start = lambda: ensure_embedded(Settings(name="shop"))
        address = gevent.get_hub().threadpool.apply(start)
        def callback(message):
            print("answer", get_ident() == main, flush=True)
        current_server().respond_callback = callback
        print(address.endpoint, flush=True)
        stdin_line()
        print("stopped", stop_server(), flush=True)
    """)
    assert peer.ask("ping") == b"ok"
    assert line_of(process) == "answer True"
    assert peer.ask("trigger_gc") == b"ok"
    assert line_of(process) == "answer True"
    say(process)
    assert line_of(process) == "stopped True"
    assert process.wait(10) == 0


def test_a_patched_process_ends_by_itself(run: Any) -> None:
    process, peer = run("print(address.endpoint, flush=True)\nstdin_line()")
    peer.ask("start_cpu_profiling")
    peer.ask("start_memory_profile")
    say(process)
    assert process.wait(10) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


REQUESTS = """
from rbkit_websocket import RbkitWebsocket
def view_that_waits(environ, start_response):
    gevent.sleep(100)
    return []
def quick(environ, start_response):
    return []
app = RbkitWebsocket(lambda environ, start_response: environ["view"](environ, start_response), token=False, name="shop")
def request(path, view):
    app({"REQUEST_METHOD": "GET", "PATH_INFO": path, "view": view}, None)
request("/", quick)
"""
PARKED = (
    REQUESTS
    + """
parked = [gevent.spawn(request, f"/users/{number}", view_that_waits) for number in range(20)]
gevent.sleep(0)
print(address.endpoint, flush=True)
stdin_line()
"""
)


def test_parked_greenlets_have_their_age_and_request(run: Any) -> None:
    _, peer = run(PARKED)
    time.sleep(0.3)
    waiting = [greenlet for greenlet in peer.map("stacks")["greenlets"] if greenlet["request"]]
    assert [greenlet["request"] for greenlet in waiting] == ["GET /users/<int>"] * 20
    assert {greenlet["waiting_on"] for greenlet in waiting} == {"sleep"}
    assert all(0.3 <= greenlet["age"] < 10 for greenlet in waiting)


def test_the_registry_follows_births_and_deaths_and_is_given_back(run: Any) -> None:
    process, peer = run("""
        class Odd(gevent.Greenlet):
            __hash__ = None
            def __eq__(self, other): raise RuntimeError("compared")
        odd = Odd.spawn(gevent.sleep, 100)
        gevent.sleep(0)
        print(address.endpoint, flush=True)
        stdin_line()
        for _ in range(5000):
            gevent.spawn(len, ()).join()
        registry = current_server().profiling.greenlets
        print(len(registry._known) < 50, flush=True)
        stop_server()
        another = gevent.spawn(gevent.sleep, 100)
        print(len(registry._known), flush=True)
    """)
    names = [greenlet["name"] for greenlet in peer.map("stacks")["greenlets"]]
    assert any(name.startswith("Odd") for name in names)
    say(process)
    assert line_of(process) == "True"
    assert line_of(process) == "0"


def test_greenlets_older_than_the_server_and_raw_ones_are_found(run: Any) -> None:
    _, peer = run("""
        import greenlet
        stop_server()
        old = gevent.spawn(gevent.sleep, 100)
        raw = greenlet.greenlet(lambda: gevent.get_hub().switch())
        gevent.spawn(raw.switch)
        gevent.sleep(0)
        address = ensure_embedded(Settings(name="shop"))
        print(address.endpoint, flush=True)
        stdin_line()
    """)
    found = peer.map("stacks")["greenlets"]
    ages = {greenlet["name"]: greenlet["age"] for greenlet in found}
    assert ages["greenlet.greenlet" if "greenlet.greenlet" in ages else "greenlet"] is None
    assert ages["Greenlet: sleep"] is None


def test_wait_profile_shows_where_requests_wait(run: Any) -> None:
    _, peer = run(PARKED)
    assert peer.map("wait_profile on") == {"wanted": True, "active": False}
    peer.map("start_cpu_polling")
    cursor = peer.map("cpu_profile")["cursor"]
    began = time.monotonic()

    def waits() -> list[dict[str, Any]]:
        profile = peer.map(f"cpu_profile {cursor}")
        stacks = [stack for stack in profile["stacks"] if stack["request"] == "GET /users/<int>"]
        return [stack for stack in stacks if "view_that_waits" in names(profile, stack) and stack["waiting"]]

    wait_until(lambda: sum(stack["count"] for stack in waits()) >= 100, "samples of parked greenlets")
    weight = sum(stack["wall_us"] for stack in waits()) / 1e6
    assert {(stack["cpu_us"], stack["weight_us"]) for stack in waits()} == {(0, 0)}, "it waits, by any clock"
    elapsed = time.monotonic() - began
    assert 20 * (elapsed - scaled(1.0)) < weight < 20 * (elapsed + scaled(0.5))
    assert peer.map("wait_profile off") == {"wanted": False, "active": False}
    count = sum(stack["count"] for stack in waits())
    # The loop that runs them is sampled all the while, hundreds of times a second.
    sampled = peer.map(f"cpu_profile {cursor}")["samples"]
    wait_until(lambda: peer.map(f"cpu_profile {cursor}")["samples"] >= sampled + 100, "samples of the rest")
    assert sum(stack["count"] for stack in waits()) == count


POOL = (
    REQUESTS
    + """
import random
from gevent.lock import Semaphore
pool = Semaphore(1)
waited = 0.0
def parks(wait):
    global waited
    began = time.monotonic()
    wait()
    waited += time.monotonic() - began
def with_pool(environ, start_response):
    parks(pool.acquire)
    parks(lambda: gevent.sleep(0.5))
    pool.release()
    return []
def short(environ, start_response):
    for _ in range(20):
        parks(lambda: gevent.sleep(random.uniform(0.001, 0.01)))
    return []
heap = [[number] for number in range(1_500_000)]
print(address.endpoint, flush=True)
while line := stdin_line().strip():
    view, number = (with_pool, 10) if line == "pool" else (short, 100)
    waited = 0.0
    gevent.joinall([gevent.spawn(request, "/" + line, view) for _ in range(number)])
    print(waited, flush=True)
"""
)


@native
@pytest.mark.parametrize("load", ["pool", "short"])
@pytest.mark.parametrize("looks", ["at the end", "each moment"])
def test_a_wait_weighs_what_it_took(run: Any, load: str, looks: str) -> None:
    """Whenever anybody looks, and on a heap that takes long to look through."""
    process, peer = run(POOL)
    assert peer.map("wait_profile on")["wanted"] is True
    peer.map("start_cpu_polling")
    peer.map("cpu_profile")
    said: list[float] = []
    thread = threading.Thread(target=lambda: said.append(float(line_of(process))))
    thread.start()
    say(process, load)
    stacks: list[dict[str, Any]] = []
    cursor = peer.map("cpu_profile")["cursor"]
    while thread.is_alive():
        thread.join(0.2)
        if looks == "each moment" or not thread.is_alive():
            profile = peer.map(f"cpu_profile {cursor}")
            cursor = profile["cursor"]
            stacks += profile["stacks"]
    found = [stack for stack in stacks if stack["waiting"]]
    assert {stack["request"] for stack in found} == {f"GET /{load}"}
    # The program's own clock has the way to each switch as well: 2000 of them, a hundred microseconds each on a machine
    # that does something else in between.
    near = 0.03 if load == "pool" else 0.1
    assert sum(stack["wall_us"] for stack in found) / 1e6 == pytest.approx(said[0], rel=near)
    assert {stack["cpu_us"] for stack in found} == {0}


@native
def test_what_was_parked_before_waits_from_then_on_and_greenlets_tracer_is_put_back(run: Any) -> None:
    process, peer = run(
        REQUESTS
        + """
import greenlet
told = []
def theirs(event, switched):
    told.append(event)
greenlet.settrace(theirs)
parked = gevent.spawn(request, "/parked", view_that_waits)
gevent.sleep(0)
print(address.endpoint, flush=True)
stdin_line()
print(greenlet.gettrace() is theirs, len(told) > 0, flush=True)
told.clear()
gevent.sleep(0.01)
print(len(told) > 0, flush=True)
stdin_line()
until = time.monotonic() + 10
while greenlet.gettrace() is not theirs and time.monotonic() < until:
    gevent.sleep(0.01)
print(greenlet.gettrace() is theirs, flush=True)
stdin_line()
"""
    )
    peer.map("wait_profile on")
    peer.map("start_cpu_polling")

    def waiting() -> int:
        stacks = peer.map("cpu_profile")["stacks"]
        return sum(stack["wall_us"] for stack in stacks if stack["waiting"] and stack["request"] == "GET /parked")

    before = wait_until(waiting, "the one that was parked before")
    began = time.monotonic()
    wait_until(lambda: waiting() - before >= 200_000, "its time")
    assert time.monotonic() - began >= 0.15
    say(process)
    assert line_of(process) == "False True"
    assert line_of(process) == "True", "theirs is called as well"
    peer.map("wait_profile off")
    peer.map("cpu_profile")
    say(process)
    assert line_of(process) == "True"


BLOCKING = (
    REQUESTS
    + """
def culprit(environ, start_response):
    native_sleep(float(environ["PATH_INFO"].rpartition("/")[2]))
    return []
def block(seconds):
    gevent.spawn(request, f"/slow/{seconds}", culprit).join()
print(address.endpoint, flush=True)
while line := stdin_line().strip():
    if line == "parked":
        from gevent.event import Event
        parked = [gevent.spawn(Event().wait) for _ in range(50)]
        gevent.sleep(0)
    elif line == "many":
        def short():
            native_sleep(0.04)
        gevent.joinall([gevent.spawn(short) for _ in range(10)])
    elif line == "gil":
        def computes_in_c():
            sum(range(60_000_000))
            return len(line)
        gevent.spawn(computes_in_c).join()
    elif line == "c":
        gevent.spawn(native_sleep, 0.5).join()
    else:
        block(line)
    print("free", flush=True)
"""
)


@pytest.mark.smoke
@pytest.mark.timing
def test_blocked_names_the_culprit_while_it_blocks_and_afterwards(run: Any) -> None:
    process, peer = run(BLOCKING)
    peer.subscribe()
    wait_until(lambda: peer.map("blocked")["limit"] == 0.1, "the subscription")
    assert peer.map("blocked")["count"] == 0
    say(process, "1.2")
    lasting = wait_until(lambda: peer.map("blocked")["now"], "the block")
    assert lasting["request"] == "GET /slow/<float>"
    assert 0.1 <= lasting["seconds"] < 1.2
    assert "culprit" in [frame[0] for frame in lasting["stack"]]
    assert line_of(process) == "free"
    answer = wait_until(lambda: (found := peer.map("blocked"))["now"] is None and found, "the end")
    assert answer["count"] == 1
    answer = wait_until(lambda: (found := peer.map("blocked"))["longest"] == found["total"] and found, "its length")
    assert answer["longest"] == pytest.approx(1.2, abs=0.1)
    (entry,) = answer["stacks"]
    assert set(entry) == {"request", "count", "total", "longest", "last", "stack", "line", "inner"}
    assert (entry["request"], entry["count"]) == ("GET /slow/<float>", 1)
    assert entry["longest"] == answer["longest"]
    for _ in range(2):
        say(process, "0.3")
        assert line_of(process) == "free"
    answer = wait_until(lambda: (found := peer.map("blocked"))["count"] == 3 and found, "the others")
    assert answer["stacks"][0]["count"] == 3
    assert answer["total"] == pytest.approx(1.8, abs=0.2)


@pytest.mark.parametrize("beside", ["nobody", "some that have no frame"])
def test_many_short_greenlets_in_a_row_are_nobodys_block(run: Any, beside: str) -> None:
    process, peer = run(BLOCKING)
    if beside != "nobody":
        say(process, "parked")
        assert line_of(process) == "free"
    peer.subscribe()
    wait_until(lambda: peer.map("blocked")["limit"] == 0.1, "the subscription")
    say(process, "many")
    assert line_of(process) == "free"
    say(process, "0.3")
    assert line_of(process) == "free"
    answer = wait_until(lambda: (found := peer.map("blocked"))["count"] and found, "the block behind them")
    assert [(stack["request"], stack["count"]) for stack in answer["stacks"]] == [("GET /slow/<float>", 1)]


@pytest.mark.timing
def test_a_c_call_that_keeps_the_interpreters_lock_is_counted_when_it_returns(run: Any) -> None:
    process, peer = run(BLOCKING)
    peer.map("blocked")
    say(process, "gil")
    assert line_of(process) == "free"
    # A crowded machine may have kept the process itself waiting, which looks the same.
    wait_until(
        lambda: [entry for entry in peer.map("blocked")["stacks"] if entry["stack"][0][0] == "computes_in_c"],
        "the block",
    )


def test_a_greenlet_without_a_frame_is_seen(run: Any) -> None:
    process, peer = run(BLOCKING)
    peer.map("blocked")
    say(process, "c")
    assert line_of(process) == "free"
    answer = wait_until(lambda: (found := peer.map("blocked"))["count"] and found, "the block")
    assert answer["stacks"][0]["request"] is None


def test_a_long_block_is_written_at_once_and_logged_when_it_has_ended(run: Any) -> None:
    process, peer = run(
        PRELUDE_LOGGING + BLOCKING.replace("print(address", "stop_server()\naddress = ensure(0.5)\nprint(address")
    )
    block = scaled(1.5)
    say(process, str(block))
    assert process.stderr is not None
    began = time.monotonic()
    line = process.stderr.readline()
    assert re.search(r"has been blocked for \d\.\d s by GET /slow/<float>, and still is", line)
    assert time.monotonic() - began < block - 0.3
    while "request in " not in (line := process.stderr.readline()):
        assert line.startswith("  ")
    first = line_of(process)
    while first == "free":
        first = line_of(process)
    assert first.startswith("WARNING rbkit_websocket rbkit: the event loop of process")
    assert re.search(r"was blocked for [\d.]+ s by GET /slow/<float>", first)
    # Nobody subscribes and nobody has asked: what is shorter than blocked_log is not counted.
    say(process, "0.2")
    say(process, str(block))
    while "WARNING" not in line_of(process):
        pass
    answer = peer.map("blocked")
    assert (answer["count"], answer["log_limit"], answer["limit"]) == (2, 0.5, 0.1)


PRELUDE_LOGGING = """
class Handler(logging.Handler):
    def emit(self, record):
        if "event loop" in record.getMessage():
            print(record.levelname, record.name, record.getMessage().splitlines()[0], flush=True)
logging.getLogger("rbkit_websocket").addHandler(Handler())
def ensure(seconds):
    return ensure_embedded(Settings(name="shop", blocked_log=seconds))
"""


def test_without_a_limit_and_a_client_nothing_is_watched(run: Any) -> None:
    process, peer = run(
        PRELUDE_LOGGING + BLOCKING.replace("print(address", "stop_server()\naddress = ensure(0)\nprint(address")
    )
    say(process, "0.5")
    assert line_of(process) == "free"
    answer = peer.map("blocked")
    assert (answer["count"], answer["log_limit"]) == (0, 0.0)


def test_a_line_that_blocks_in_several_ways_is_one_entry_with_what_it_called(run: Any) -> None:
    process, peer = run("""
        import contextlib, sched
        def work():
            stack, plan = contextlib.ExitStack(), sched.scheduler(time.monotonic, native_sleep)
            stack.callback(native_sleep, 0.6)
            plan.enter(0.6, 1, int)
            for call in (plan.run, stack.close):
                call()
                gevent.sleep(0.05)
        print(address.endpoint, flush=True)
        while stdin_line().strip():
            gevent.spawn(work).join()
            print("done", flush=True)
    """)
    peer.map("blocked")
    say(process)
    assert line_of(process) == "done"
    answer = wait_until(lambda: found if (found := peer.map("blocked"))["count"] >= 2 else None, "both blocks")
    [entry] = [entry for entry in answer["stacks"] if any(frame[0] == "work" for frame in entry["stack"])]
    assert entry["stack"][entry["line"]][0] == "work"
    assert entry["count"] == sum(each["count"] for each in entry["inner"]) == 2
    assert {each["stack"][-1][0] for each in entry["inner"]} == {"close", "run"}
    assert entry["longest"] == max(each["longest"] for each in entry["inner"])
