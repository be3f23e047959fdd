"""What CPU profilers cost a real web server: gunicorn with a gevent worker and Flask. Part of ``sampler.py``.

One worker, one process that asks for a JSON answer and a page in turns on one connection, one client that polls or
takes the raw samples through the middleware's WebSocket. Each profiler is on and off in turns; times of requests are
compared pair by pair (mean) and over all rounds (99th percentile).
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from sampler_loads import flask_site, in_process, spy_on
from sampler_turns import error_of_median

TOKEN = "benchmark"

# -- in the worker


def application() -> Any:
    """The site behind the middleware. ``/profiler/NAME`` has a profiler run around each request, ``/`` none."""
    from rbkit_websocket import RbkitWebsocket

    app = flask_site()
    views = app.wsgi_app
    around = [""]

    def switch(name: str = "") -> str:
        around[0] = name
        return str(os.getpid())

    def profiled(environ: Any, start_response: Any) -> Any:
        if not around[0]:
            return views(environ, start_response)
        with in_process(around[0]):
            return views(environ, start_response)

    app.add_url_rule("/profiler/<name>", "switch", switch)
    app.add_url_rule("/", "off", switch)
    app.wsgi_app = RbkitWebsocket(profiled, token=TOKEN)
    return app


# -- the process that asks


def load(port: int) -> None:
    """Reads seconds a line; answers with the seconds that each request took."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for line in sys.stdin:
        times = []
        until = time.perf_counter() + float(line)
        while (began := time.perf_counter()) < until:
            for path in ("/json", "/page"):
                try:
                    connection.request("GET", path)
                    answer = connection.getresponse()
                except (http.client.HTTPException, ConnectionError):  # kept alive for too long
                    connection.close()
                    continue
                if answer.status != 200 or not answer.read():
                    raise RuntimeError(path)
                times.append(-began + (began := time.perf_counter()))
        print(json.dumps(times), flush=True)


# -- the client

# Seconds that requests took, without a profiler and with one.
Turn = dict[bool, list[float]]
DRAWN = 100


class Found(NamedTuple):
    """Ratios of what a request takes with and without a profiler, with their standard errors."""

    mean: float
    mean_error: float
    tail: float
    tail_error: float


class Site:
    """gunicorn, the process that loads it, and a client that is connected all the time."""

    def __init__(self, directory: str) -> None:
        from rbkit_websocket import connect

        self._log = os.path.join(directory, "log")
        environ = {**os.environ, "RBKIT_RUNTIME_DIR": directory, "PYTHONPATH": os.path.dirname(__file__)}
        command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "--bind", "127.0.0.1:0", "--keep-alive", "60"]
        with open(self._log, "wb") as log:
            self._server = subprocess.Popen(
                [*command, "sampler_web:application()"], env=environ, stderr=log, cwd=directory
            )
        self.port = self._listening()
        self.worker = int(self.get("/"))
        self._load = subprocess.Popen(
            [sys.executable, __file__, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.client = connect(f"http://127.0.0.1:{self.port}", token=TOKEN)
        self.native = self.client.handshake()["native"]

    def _listening(self) -> int:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with open(self._log) as log:
                if found := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read()):
                    return int(found[1])
            time.sleep(0.05)
        with open(self._log) as log:
            raise RuntimeError(f"gunicorn did not start:\n{log.read()}")

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            return str(answer.read().decode())

    def ask(self, command: str) -> Any:
        return self.client.command(command)

    def run(self, seconds: float, meanwhile: Callable[[], None]) -> list[float]:
        """Times of requests; ``meanwhile`` is called each second."""
        answers: list[list[float]] = []
        reader = threading.Thread(target=lambda: answers.append(json.loads(self._load.stdout.readline())))  # type: ignore[union-attr]
        self._load.stdin.write(f"{seconds}\n")  # type: ignore[union-attr]
        reader.start()
        while reader.is_alive():
            reader.join(min(1.0, seconds / 2))
            meanwhile()
        return answers[0]

    def close(self) -> None:
        self.client.close()
        self._load.stdin.close()  # type: ignore[union-attr]
        self._load.wait()
        self._server.send_signal(signal.SIGQUIT)
        with suppress(subprocess.TimeoutExpired):
            self._server.wait(20)
        self._server.kill()
        self._server.wait()


def nothing() -> None:
    """Nobody polls."""


@contextmanager
def ours(site: Site, interval: int, start: str) -> Iterator[Callable[[], None]]:
    for command in (f"set_cpu_interval {interval}", "use_wall_time", start):
        site.ask(command)
    cursor = [""]

    def poll() -> None:
        cursor[0] = f" {site.ask(f'cpu_profile{cursor[0]}')['cursor']}"

    def take() -> None:
        for _ in site.client.events(timeout=0.001):
            pass

    yield poll if start == "start_cpu_polling" else take
    site.ask("stop_cpu_profiling")


@contextmanager
def of_worker(site: Site, name: str) -> Iterator[Callable[[], None]]:
    site.get(f"/profiler/{name}" if name else "/")
    yield nothing
    site.get("/")


@contextmanager
def py_spy(site: Site) -> Iterator[Callable[[], None]]:
    stop = spy_on(site.worker)
    yield nothing
    stop()


def idle(site: Site) -> float:
    """Percentage of an idle worker's time that is in ``Hub.run``."""
    with ours(site, 1000, "start_cpu_polling"):
        cursor = site.ask("cpu_profile")["cursor"]
        time.sleep(2.0)
        answer = site.ask(f"cpu_profile {cursor}")
    main = {ident for ident, name in answer["threads"].items() if name == "MainThread"}
    stacks = [stack for stack in answer["stacks"] if stack["thread"] in main]
    hubs = [s for s in stacks if any(answer["frames"][index][1].endswith("Hub.run") for index in s["frames"])]
    return 100 * sum(s["weight_us"] for s in hubs) / max(1, sum(s["weight_us"] for s in stacks))


def percentile(times: list[float]) -> float:
    """The 99th."""
    return statistics.quantiles(times, n=100)[98]


def tail(turns: list[Turn]) -> float:
    """The ratio of the 99th percentiles of all turns."""
    off, on = ([seconds for turn in turns for seconds in turn[side]] for side in (False, True))
    return percentile(on) / percentile(off)


def error_of_tail(turns: list[Turn]) -> float:
    """Its standard error: how far it is apart in samples drawn from the turns (a bootstrap)."""
    return statistics.stdev(tail(random.choices(turns, k=len(turns))) for _ in range(DRAWN))


def measure(names: dict[str, str], rounds: int, seconds: float) -> tuple[dict[str, Found], float, str]:
    """For each profiler (what :data:`KINDS` calls it) what it costs; idle time in the hub in per cent; what the
    handshake says of the native sampler."""
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="rbb", dir="/tmp") as directory:
        site = Site(directory)
        try:
            site.run(seconds, nothing)
            for number in range(rounds):
                for name, kind in names.items():
                    turn: Turn = {}
                    # Each side goes first in half of the rounds.
                    for on in (True, False) if number % 2 else (False, True):
                        with KINDS[kind if on else ""](site) as meanwhile:
                            turn[on] = site.run(seconds, meanwhile)
                    turns[name].append(turn)
            in_hub, native = idle(site), site.native
        finally:
            site.close()
    found = {}
    for name, taken in turns.items():
        means = [statistics.fmean(turn[True]) / statistics.fmean(turn[False]) for turn in taken]
        found[name] = Found(statistics.median(means), error_of_median(means), tail(taken), error_of_tail(taken))
    return found, in_hub, native


KINDS: dict[str, Callable[[Site], Any]] = {
    "": lambda site: of_worker(site, ""),
    "1 kHz polled": lambda site: ours(site, 1000, "start_cpu_polling"),
    "1 kHz raw": lambda site: ours(site, 1000, "start_cpu_profiling"),
    "10 kHz polled": lambda site: ours(site, 100, "start_cpu_polling"),
    "py-spy": py_spy,
    "pyinstrument": lambda site: of_worker(site, "pyinstrument"),
    "cProfile": lambda site: of_worker(site, "cProfile"),
}

if __name__ == "__main__":
    load(int(sys.argv[1]))
