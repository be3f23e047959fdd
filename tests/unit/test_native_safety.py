"""The native sampler does the process no harm: signals, forks, threads that come and go, the end."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.native import drained, native, native_host, python
from support.waiting import wait_until

from rbkit_websocket import RbkitWebsocket
from rbkit_websocket.profilers.native import NativeSampler, default_signal, native_module
from rbkit_websocket.profilers.requests import REQUESTS

pytestmark = native

SIGNAL = sys.version_info < (3, 13)


@pytest.fixture(autouse=True, params=["default", "signal"] if SIGNAL else ["default"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """How the main thread is asked: as it is by default, or with a signal."""
    module = native_module()
    before = module.needs_signal()
    module.use_signal(request.param == "signal")
    yield request.param
    module.use_signal(before)


def needs_signal(test: Callable[..., None]) -> Callable[..., None]:
    """Runs only with the signal."""
    skipped = pytest.mark.skipif(not SIGNAL, reason="no signal is used from Python 3.13 on")(test)
    return pytest.mark.parametrize("way", ["signal"], indirect=True)(skipped)


def spin(seconds: float) -> int:
    number, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(1000):
            number += 1
    return number


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_a_thousand_starts_and_stops_leave_nothing(sampler: NativeSampler) -> None:
    def cycles(number: int) -> None:
        for _ in range(number):
            sampler.start("wall")
            spin(0.001)
            sampler.stop()
            sampler.drain(False)

    cycles(100)
    memory, files, threads = resident(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    cycles(1000)
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # which keeps freed memory for a while
        assert resident() - memory < 2_000_000
    assert len(os.listdir("/proc/self/fd")) == files
    wait_until(lambda: len(os.listdir("/proc/self/task")) == threads, "the end of its threads")
    if sys.version_info < (3, 13):
        assert signal.getsignal(default_signal()) == signal.SIG_DFL


def test_threads_may_be_born_and_die_at_any_time(sampler: NativeSampler) -> None:
    sampler.interval_usec = 100
    sampler.start("wall")
    until = time.monotonic() + 2
    born = 0
    while time.monotonic() < until:
        threads = [threading.Thread(target=sum, args=(range(100),)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        born += len(threads)
    sampler.stop()
    sampler.drain(False)
    assert born > 1000


def test_requests_may_begin_and_end_in_any_thread_while_they_are_sampled(sampler: NativeSampler) -> None:
    """Their names are asked for in the looker's thread and in the main thread, and others run meanwhile."""
    weights: Counter[str | None] = Counter()
    ended: list[bool] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        spin(0.0005)
        return []

    wrapped = RbkitWebsocket(application, token=False, pub_endpoint="tcp://[::1]:1", req_endpoint="tcp://[::1]:2")

    def serve(number: int) -> None:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": f"/{number}/view", "QUERY_STRING": ""}
        wrapped(environ, None)  # type: ignore[arg-type]

    def serve_on() -> None:
        while not ended:
            serve(1)

    def drain() -> None:
        for _, name, weight, _ in sampler.drain(not ended).totals:
            weights[name] += weight

    serve(0)
    sampler.interval_usec = 100
    sampler.start("wall")
    threads = [threading.Thread(target=serve_on) for _ in range(4)]
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            serve(2)
            drain()
    finally:
        sys.setswitchinterval(switch_interval)
        ended.append(True)
        for thread in threads:
            thread.join()
        sampler.stop()
    drain()
    assert set(weights) == {"GET /<int>/view", None}
    assert weights["GET /<int>/view"] > weights[None]
    assert not REQUESTS.sampled
    assert not REQUESTS.running
    assert not REQUESTS.tracking


@needs_signal
def test_the_signal_is_given_back(sampler: NativeSampler) -> None:
    number = default_signal()
    sampler.start("cpu")
    spin(0.05)
    assert getattr(signal.getsignal(number), "__name__", "") == "rbkit_sampler"
    sampler.stop()
    assert signal.getsignal(number) == signal.SIG_DFL


@needs_signal
def test_a_server_thread_installs_and_gives_back_too(sampler: NativeSampler) -> None:
    def in_thread(function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments)  # type: ignore[arg-type]
        thread.start()
        thread.join()

    in_thread(sampler.start, "cpu")
    spin(0.2)
    status = sampler._native.status()
    assert status["attached"] is True
    assert status["answered"] > 50
    in_thread(sampler.stop)
    spin(0.01)
    assert signal.getsignal(default_signal()) == signal.SIG_DFL


@needs_signal
@pytest.mark.timing
def test_a_signal_in_use_is_refused_and_left_alone(sampler: NativeSampler) -> None:
    number, got = default_signal(), []
    signal.signal(number, lambda *_: got.append(1))
    try:
        assert sampler.refusal == f"the signal is in use by the application ({number}; the option signal names another)"
        sampler.start("wall")
        spin(0.5)
        assert sampler.effective_interval_usec == 5000
        sampler.stop()
        weights, counts = drained(sampler)
        assert weights["spin"] == pytest.approx(500_000, rel=0.15)
        assert counts["spin"] > 20
        assert not got
        assert signal.getsignal(number) not in (signal.SIG_DFL, None)
    finally:
        signal.signal(number, signal.SIG_DFL)
    assert sampler.refusal is None


@needs_signal
def test_a_signal_that_the_application_takes_later_is_its_own(sampler: NativeSampler) -> None:
    number = default_signal()
    sampler.start("wall")
    spin(0.05)

    def theirs(*_: object) -> None:
        pass

    signal.signal(number, theirs)
    try:
        sampler.drain(False)
        assert sampler.refusal is not None
        asked = sampler._native.status()["asked"]
        spin(0.1)
        assert sampler._native.status()["asked"] <= asked + 1
        sampler.stop()
        assert signal.getsignal(number) is theirs
    finally:
        signal.signal(number, signal.SIG_DFL)


@needs_signal
def test_another_signal_can_be_chosen_or_none() -> None:
    with native_host() as host:
        number = signal.SIGRTMIN + 9
        chosen = NativeSampler(host, number)
        chosen.start("cpu")
        spin(0.05)
        assert getattr(signal.getsignal(number), "__name__", "") == "rbkit_sampler"
        chosen.stop()
        none = NativeSampler(host, 0)
        assert none.refusal == "no signal may be used"
        none.start("cpu")
        spin(0.2)
        none.stop()
        assert drained(none)[0]["spin"] > 0


@needs_signal
@pytest.mark.timing
def test_a_blocked_signal_only_costs_precision(sampler: NativeSampler) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {default_signal()})
    try:
        sampler.start("wall")
        spin(0.5)
        sampler.stop()
    finally:
        # What is pending then must not end the process.
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert drained(sampler)[0]["spin"] == pytest.approx(500_000, rel=0.15)


def test_alarms_timers_and_handlers_of_the_application_go_on(sampler: NativeSampler) -> None:
    got: list[int] = []
    old = {number: signal.signal(number, lambda n, _f: got.append(n)) for number in (signal.SIGALRM, signal.SIGUSR1)}
    sampler.interval_usec = 100
    sampler.start("wall")
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        os.kill(os.getpid(), signal.SIGUSR1)
        spin(0.5)
        signal.setitimer(signal.ITIMER_REAL, 0)
        began = time.monotonic()
        time.sleep(0.1)  # is not cut short
        assert time.monotonic() - began >= 0.1
        assert got.count(signal.SIGUSR1) == 1
        assert got.count(signal.SIGALRM) >= 10
        signal.alarm(1)
        signal.pause()
        assert got[-1] == signal.SIGALRM
    finally:
        sampler.stop()
        for number, handler in old.items():
            signal.signal(number, handler)


def test_a_wakeup_descriptor_still_works(sampler: NativeSampler) -> None:
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    old = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        sampler.start("wall")
        spin(0.2)
        os.kill(os.getpid(), signal.SIGUSR1)
        spin(0.05)
        sampler.stop()
        told = reader.recv(100_000)
        assert signal.SIGUSR1 in told
        assert set(told) <= {signal.SIGUSR1, default_signal()}
    finally:
        signal.set_wakeup_fd(old)
        signal.signal(signal.SIGUSR1, handler)
        reader.close()
        writer.close()


def test_a_forked_child_samples_nothing_and_can_start_anew(sampler: NativeSampler) -> None:
    sampler.start("wall")
    spin(0.05)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sampler.forget()
            alone = len(os.listdir("/proc/self/task")) == 1
            free = sys.version_info >= (3, 13) or signal.getsignal(default_signal()) == signal.SIG_DFL
            sampler.start("wall")
            spin(0.1)
            sampler.stop()
            code = 0 if alone and free and drained(sampler)[0]["spin"] > 50_000 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    spin(0.1)
    assert drained(sampler)[0]["spin"] > 90_000


def test_a_forked_child_that_is_told_nothing_is_well(sampler: NativeSampler) -> None:
    sampler.interval_usec = 100
    sampler.start("wall")
    for _ in range(20):
        spin(0.002)
        child = os.fork()
        if child == 0:
            spin(0.01)
            sampler._native.stop()
            os._exit(0 if sampler._native.status()["running"] is False else 3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


PROGRAM = """
import faulthandler, sys, threading, time
faulthandler.enable()
from rbkit_websocket import RbkitWebsocket
from rbkit_websocket.profilers.requests import REQUESTS
from rbkit_websocket.profilers.native import NativeSampler
from rbkit_websocket.server.originals import AppThread, make_host
sampler = NativeSampler(make_host(AppThread()))
sampler._native.use_signal(WAY == "signal")
sampler.interval_usec = 100
sampler.start("wall")
def work(n=0):
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        n += 1
"""


@pytest.mark.parametrize(
    "ending",
    [
        "work()",
        "threading.Thread(target=work, daemon=True).start(); work()",
        "threading.Thread(target=lambda: work() or work()).start(); work()",
        "faulthandler.dump_traceback_later(0.05, repeat=True, file=open('/dev/null', 'w')); work()",
        "import atexit; atexit.register(work); work()",
        "import os; work(); os._exit(0)",
        "work(); sampler.stop(); sampler.start('cpu'); work()",
        "class Late:\n  def __del__(self, work=work): work()\nsys.late = Late(); work()",
    ],
)
@pytest.mark.smoke
def test_the_interpreter_ends_while_it_samples(ending: str, way: str) -> None:
    for _ in range(2):
        python(f"WAY = {way!r}\n{PROGRAM}{ending}")


def test_ends_in_exec(way: str) -> None:
    ending = "import os; work(); os.execv(sys.executable, [sys.executable, '-c', 'pass'])"
    python(f"WAY = {way!r}\n{PROGRAM}{ending}")


def test_processes_that_it_starts_are_not_touched(sampler: NativeSampler) -> None:
    import subprocess

    sampler.interval_usec = 100
    sampler.start("wall")
    for _ in range(10):
        spin(0.005)
        assert subprocess.run(["/bin/sh", "-c", "exit 7"], check=False).returncode == 7


def test_a_sub_interpreter_is_refused() -> None:
    code = """
import _xxsubinterpreters as sub
"""
    if sys.version_info >= (3, 13):
        code = "import _interpreters as sub\n"
    answer = python(
        code
        + """
inner = sub.create() if not hasattr(sub, 'new_config') else sub.create('legacy')
done = sub.run_string(inner, '''
try:
    from rbkit_websocket.profilers import _native
    import threading
    _native.start(False, 1000000, threading.get_ident(), 0, set())
except (RuntimeError, ImportError) as error:
    print("refused", flush=True)
''')
sub.destroy(inner)
"""
    )
    assert answer.strip() == "refused"
