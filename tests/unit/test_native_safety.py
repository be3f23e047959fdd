"""The native sampler does the process no harm: threads and requests that come and go, forks, debuggers, the end."""

from __future__ import annotations

import ctypes
import io
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.handlers import SimpleHandler

import pytest
from support.native import drained, middleware, native, python, request, spin
from support.waiting import scaled, wait_until

from rbkit_websocket.profilers.cpu.native import NativeSampler, default_signal
from rbkit_websocket.profilers.requests.tracker import REQUESTS

pytestmark = [native, pytest.mark.usefixtures("way")]


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_a_thousand_starts_and_stops_leave_nothing(sampler: NativeSampler) -> None:
    def cycles(number: int) -> None:
        for _ in range(number):
            sampler.start()
            spin(0.001)
            sampler.stop()
            sampler.drain(None)

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
    sampler.start()
    for _ in range(200):
        threads = [threading.Thread(target=sum, args=(range(100),)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    others = len(sys._current_frames())
    wait_until(lambda: sampler._native.status()["threads"] < 5 + others, "the end of all threads to be noticed")
    sampler.stop()
    sampler.drain(None)


def test_requests_may_begin_and_end_in_any_thread_while_they_are_sampled(sampler: NativeSampler) -> None:
    """Their names are asked for in the looker's thread and in the main thread, and others run meanwhile."""
    weights: Counter[str | None] = Counter()
    ended: list[bool] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        spin(0.0005)
        return []

    wrapped = middleware(application)

    asked = {threading.get_ident()}

    def serve_on() -> None:
        asked.add(threading.get_ident())
        while not ended:
            request(wrapped, "/1/view")

    def drain() -> None:
        for stack, name, weight, *_ in sampler.drain(None if ended else "wall").totals:
            if stack.thread in asked:  # others of this process rest, on the wall clock too
                weights[name] += weight

    sampler.interval_usec = 100
    sampler.start()
    threads = [threading.Thread(target=serve_on) for _ in range(4)]
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            request(wrapped, "/2/view")
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
    assert not REQUESTS.running
    assert not REQUESTS.tracking


def parts() -> Iterator[bytes]:
    for _ in range(3):
        spin(0.0005)
        yield b""


def streaming(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if start_response is not None:
        start_response("200 OK", [])
    return parts()


def send(wrapped: Callable[..., Any], path: str) -> None:
    """Has the standard library's server function send a body."""
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_PROTOCOL": "HTTP/1.0"}
    SimpleHandler(io.BytesIO(), io.BytesIO(), io.StringIO(), environ).run(wrapped)


@contextmanager
def hurry() -> Iterator[None]:
    """The interpreter changes threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def test_bodies_may_be_sent_in_any_thread_while_they_are_sampled(sampler: NativeSampler) -> None:
    """The variables of a web server's function are read in the looker's thread and in the main thread."""
    weights: Counter[str | None] = Counter()
    wrapped = middleware(streaming)
    until = time.monotonic() + 1.5

    def send_on(path: str) -> None:
        while time.monotonic() < until:
            send(wrapped, path)

    sampler.interval_usec = 100
    sampler.start()
    threads = [threading.Thread(target=send_on, args=("/1/view",)) for _ in range(4)]
    with hurry():
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            send(wrapped, "/2/view")
            for stack, name, _, cpu, *_ in sampler.drain("wall").totals:
                if parts.__code__ in stack.codes:
                    weights[name] += cpu
    assert set(weights) == {"GET /<int>/view"}


def test_a_forked_child_samples_nothing_and_can_start_anew(sampler: NativeSampler) -> None:
    sampler.start()
    spin(0.05)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sampler.forget()
            alone = len(os.listdir("/proc/self/task")) == 1
            free = sys.version_info >= (3, 13) or signal.getsignal(default_signal()) == signal.SIG_DFL
            sampler.start()
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
    sampler.start()
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
from rbkit_websocket.profilers.requests.tracker import REQUESTS
from rbkit_websocket.profilers.cpu.native import NativeSampler
from rbkit_websocket.server.originals import AppThread, make_host
sampler = NativeSampler(make_host(AppThread()))
sampler._native.use_signal(WAY == "signal")
sampler.interval_usec = 100
sampler.start()
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
        "work(); sampler.stop(); sampler.start(); work()",
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
    sampler.interval_usec = 100
    sampler.start()
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
    from rbkit_websocket.native import _native
    import threading
    _native.start(1000000, threading.get_ident(), 0, set(), (lambda: 0).__code__)
except (RuntimeError, ImportError) as error:
    print("refused", flush=True)
''')
sub.destroy(inner)
"""
    )
    assert answer.strip() == "refused"


def test_a_debugger_steps_through_what_is_sampled(way: str) -> None:
    """pdb: a trace function for each line."""
    script = f"""WAY = {way!r}
{PROGRAM}
def stepped():
    total = 0
    for number in range(50):
        total += number
    work()
    return total
import pdb
debugger = pdb.Pdb(stdout=sys.stdout)
debugger.rcLines = []
debugger.rcLines += ["step"] * 6 + ["where", "p number + 1", "continue"]
print("answer", debugger.runcall(stepped))
sampler.stop()
print("work" in {{code.co_name for stack, *_ in sampler.drain(None).totals for code in stack.codes}})
"""
    answer = python(script)
    assert "stepped()" in answer
    assert answer.endswith("answer 1225\nTrue\n")


PTRACE_CONT, PTRACE_ATTACH, PTRACE_DETACH = 7, 16, 17


def test_a_debugger_stops_the_process_from_outside(way: str) -> None:
    """What gdb does: it stops a thread, passes on its signals and lets it go."""
    script = (
        f"WAY = {way!r}\n{PROGRAM}print('ready', flush=True)\nwork(); input(); work(); sampler.stop(); print('well')"
    )
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(5):
            if ptrace(PTRACE_ATTACH, process.pid, None, None) != 0:
                pytest.skip(f"no process may be traced here: {os.strerror(ctypes.get_errno())}")
            while os.WSTOPSIG(stopped := os.waitpid(process.pid, os.WUNTRACED)[1]) != signal.SIGSTOP:
                assert os.WIFSTOPPED(stopped)
                ptrace(PTRACE_CONT, process.pid, None, os.WSTOPSIG(stopped))
            time.sleep(0.02)  # the debugger's user looks around
            assert ptrace(PTRACE_DETACH, process.pid, None, None) == 0
        answer, _ = process.communicate("\n", timeout=scaled(60))
        assert answer == "well\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
