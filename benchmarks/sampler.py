"""What CPU profilers cost, and whether the native sampler tells the truth: ``python benchmarks/sampler.py``.

Four parts, some ten minutes; each prints a table with the target beside what was measured (``--part`` takes one):

``loops``   a loop of pure Python and a Flask application that makes JSON and a template, each in the main thread of a
            process of its own. Every profiler is switched on and off in turns (A B A B ...) in the same process, with a
            client in another one that polls ``cpu_profile`` each second, or takes the raw samples. A ratio compares a
            run with the mean of the runs before and after it; printed are medians, for the time that passed (with its
            standard error), for the CPU time of the main thread, and for the CPU time of a typical ten milliseconds
            (which other programs disturb least). ``waited`` is the part of the time in which the main thread did not
            run, because somebody else had the interpreter's lock or its processor.
``turns``   what the samples themselves cost these loops, apart from those who read them: on and off in turns of 40 ms.
``web``     the same application behind a real gunicorn: mean and 99th percentile of a request's time.
``truth``   rates, known shares, other threads, calls in C, an idle worker.

py-spy, pyinstrument, gunicorn and Flask take part where they are installed (``pip install py-spy pyinstrument``; py-spy
needs root or the right to trace). Run it on an idle machine: a ratio of two runs is worth what the line "nothing" is
off by.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgpack
import sampler_truth
import sampler_turns
import zmq
from sampler_loads import flask_application, in_process, pure_python, py_spy_path, spy_on

# -- the process that is measured

# Some ten milliseconds.
BATCH = 10
COLUMNS = ("wall", "cpu", "typical")
LOADS = {"python": pure_python, "flask": flask_application}


def worker(load: str) -> None:
    """Reads ``seconds [profiler]`` a line; answers with units of work, seconds and CPU seconds."""
    from rbkit_websocket import start_server

    server = start_server(int(os.environ["PORT"]), int(os.environ["PORT"]) + 1)
    work = LOADS[load]()
    work()
    print(json.dumps({"native": server.status["native"] if server else "no server"}), flush=True)
    for line in sys.stdin:
        seconds, _, profiler = line.strip().partition(" ")
        if profiler in sampler_truth.WORK:
            print(json.dumps(sampler_truth.WORK[profiler](float(seconds))), flush=True)
            continue
        with in_process(profiler):
            batches: list[float] = []
            units, began, used = 0, time.perf_counter(), time.thread_time()
            until, last = began + float(seconds), used
            while (now := time.perf_counter()) < until:
                for _ in range(BATCH):
                    work()
                units += BATCH
                batches.append(-last + (last := time.thread_time()))
            answer = {"units": units, "wall": now - began, "cpu": last - used}
            answer["typical"] = statistics.median(batches)
        print(json.dumps(answer), flush=True)


# -- the client and the measuring


def free_ports() -> int:
    """A port whose successor is free as well."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with suppress(OSError):
                if port < 64000:
                    other.bind(("127.0.0.1", port + 1))
                    return port


class Process:
    """A process under load, and a client that is connected to it all the time."""

    def __init__(self, load: str, native: bool) -> None:
        port = free_ports()
        environ = {**os.environ, "PORT": str(port), "RBKIT_NATIVE": "" if native else "0"}
        command = [sys.executable, __file__, "--worker", load]
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.native = self._read()["native"]
        self._context = zmq.Context()
        self._asks = self._context.socket(zmq.REQ)
        self._asks.connect(f"tcp://127.0.0.1:{port + 1}")
        self._events = self._context.socket(zmq.SUB)
        self._events.subscribe(b"")
        self._events.connect(f"tcp://127.0.0.1:{port}")
        self._cursor = ""
        self.samples = self.bytes = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, command: str) -> Any:
        self._asks.send_string(command)
        answer = self._asks.recv()
        return None if answer == b"ok" else msgpack.unpackb(answer, raw=False, strict_map_key=False)

    def _read(self) -> Any:
        return json.loads(self._process.stdout.readline())  # type: ignore[union-attr]

    def run(self, seconds: float, profiler: str = "", poll: bool = False) -> dict[str, float]:
        """One run; polls each second meanwhile, and takes whatever is published."""
        answers: list[Any] = []
        reader = threading.Thread(target=lambda: answers.append(self._read()))
        self._process.stdin.write(f"{seconds} {profiler}\n")  # type: ignore[union-attr]
        reader.start()
        due = time.monotonic() + min(1.0, seconds / 2)
        while reader.is_alive():
            if self._events.poll(50):
                self.bytes += len(self._events.recv())
            if poll and time.monotonic() >= due:
                due += 1.0
                self.poll()
        if poll:
            self.poll()
        return dict(answers[0])

    def work(self, work: str, seconds: float, poll: Callable[[], None]) -> dict[str, float]:
        """Has known work done (see sampler_truth) and polls each second."""
        answers: list[Any] = []
        reader = threading.Thread(target=lambda: answers.append(self._read()))
        self._process.stdin.write(f"{seconds} {work}\n")  # type: ignore[union-attr]
        reader.start()
        while reader.is_alive():
            reader.join(1.0)
            poll()
        return dict(answers[0])

    def alone(self, seconds: float) -> dict[str, float]:
        """A run with nothing on, by the unit."""
        return by_unit(self.run(seconds))

    def poll(self) -> None:
        answer = self.ask(f"cpu_profile{self._cursor}")
        self._cursor = f" {answer['cursor']}"
        self.samples += answer["samples"]

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        for end in (self._asks, self._events):
            end.close(linger=0)
        self._context.term()


Switch = Callable[[Process], Callable[[], None]]


def ours(interval: int, start: str) -> Switch:
    def switch(process: Process) -> Callable[[], None]:
        for command in (f"set_cpu_interval {interval}", "use_wall_time", start):
            process.ask(command)
        return lambda: process.ask("stop_cpu_profiling")

    return switch


def py_spy(process: Process) -> Callable[[], None]:
    return spy_on(process.pid)


class Entry(NamedTuple):
    """A profiler of the table."""

    native: bool
    """In the process with the native sampler, not in the one with the fallback."""
    switch: Switch | None
    inside: str
    """Of the profilers that run in the process itself."""
    poll: bool
    target: float | None
    """The slow-down that is to be undercut."""
    web: str | None
    """What sampler_web calls it."""


def profilers() -> dict[str, Entry]:
    """Those that can take part here."""
    tenfold = 1.03 if sys.version_info >= (3, 13) else 1.08
    found = {
        "nothing (noise)": Entry(True, None, "", False, None, ""),
        "native 1 kHz, polled": Entry(True, ours(1000, "start_cpu_polling"), "", True, 1.015, "1 kHz polled"),
        "native 1 kHz, raw samples": Entry(True, ours(1000, "start_cpu_profiling"), "", False, 1.04, "1 kHz raw"),
        "native 10 kHz, polled": Entry(True, ours(100, "start_cpu_polling"), "", True, tenfold, "10 kHz polled"),
        "Python fallback 100 Hz": Entry(False, ours(1000, "start_cpu_polling"), "", True, None, None),
    }
    if py_spy_path() is not None:
        found["py-spy 1 kHz"] = Entry(True, py_spy, "", False, None, "py-spy")
    if importlib.util.find_spec("pyinstrument"):
        found["pyinstrument 1 kHz"] = Entry(True, None, "pyinstrument", False, None, "pyinstrument")
    found["cProfile"] = Entry(True, None, "cProfile", False, None, "cProfile")
    return found


def by_unit(run: dict[str, float]) -> dict[str, float]:
    """A run's time and CPU time for one unit of work."""
    return {"wall": run["wall"] / run["units"], "cpu": run["cpu"] / run["units"], "typical": run["typical"]}


def verdict(value: float, target: float | None) -> str:
    return "" if target is None else f"  <= {target:g}  {'met' if value <= target else 'MISSED'}"


def measure(load: str, rounds: int, seconds: float, only: str) -> None:
    processes = {native: Process(load, native) for native in (True, False)}
    print(f"\n{load} loop (native: {processes[True].native}), {rounds} rounds of {seconds:g} s; slow-down")
    print(f"  {'':27}{'time':>8}{'':7}{'CPU':>8}{'typical':>8}{'waited':>8}{'samples/s':>11}")
    chosen = {name: entry for name, entry in profilers().items() if only in name}
    ratios: dict[str, list[list[float]]] = {name: [] for name in chosen}
    rate: dict[str, list[float]] = {name: [] for name in chosen}
    waited: dict[str, list[float]] = {name: [] for name in chosen}
    before = {process: process.alone(seconds) for process in processes.values()}
    for _ in range(rounds):
        for name, entry in chosen.items():
            process = processes[entry.native]
            stop = entry.switch(process) if entry.switch is not None else None
            if entry.poll:
                process.poll()
            process.samples = 0
            with_it = process.run(seconds, entry.inside, entry.poll)
            if entry.poll:
                rate[name].append(process.samples / with_it["wall"])
            if stop is not None:
                stop()
            waited[name].append(1 - with_it["cpu"] / with_it["wall"])
            with_it = by_unit(with_it)
            after = process.alone(seconds)
            ratios[name].append([2 * with_it[key] / (before[process][key] + after[key]) for key in COLUMNS])
            before[process] = after
    for name, runs in ratios.items():
        medians = [statistics.median(values) for values in zip(*runs, strict=True)]
        text = f"{medians[0]:8.3f} ±{sampler_turns.error_of_median([run[0] for run in runs]):.3f}"
        text += f"{medians[1]:8.3f}{medians[2]:8.3f}{max(0.0, statistics.median(waited[name])):8.2%}"
        hertz = f"{statistics.median(rate[name]):11.0f}" if rate[name] else " " * 11
        print(f"  {name:27}{text}{hertz}{verdict(medians[0], chosen[name].target)}", flush=True)
    for process in processes.values():
        process.close()


def measure_turns(loads: list[str], seconds: float) -> None:
    print(f"\nsamples alone, in turns of {1000 * sampler_turns.TURN:g} ms; slow-down")
    for load in loads:
        work = LOADS[load]()
        work()
        for usec in (1000, 100):
            ratios = sampler_turns.measure(work, usec, seconds)
            found = f"{statistics.median(ratios):8.3f} ±{sampler_turns.error_of_median(ratios):.3f}"
            print(f"  {load} at {1000 / usec:g} kHz".ljust(29) + found, flush=True)


def measure_web(rounds: int, seconds: float, only: str) -> None:
    import sampler_web

    names = {name: entry.web for name, entry in profilers().items() if only in name and entry.web is not None}
    found, in_hub, native = sampler_web.measure(names, rounds, seconds)
    print(
        f"\ngunicorn, gevent worker, Flask (native: {native}), {rounds} rounds of {seconds:g} s; slow-down of a request"
    )
    print(f"  {'':27}{'mean':>8}{'p99':>15}")
    for name, (mean, mean_error, p99, p99_error) in found.items():
        target = 1.05 if name.startswith("native 1 kHz, polled") else None
        ratios = f"{mean:8.3f} ±{mean_error:.3f}{p99:8.3f} ±{p99_error:.3f}"
        print(f"  {name:27}{ratios}{verdict(p99, target)}", flush=True)
    print(
        f"  idle worker's time in Hub.run: {in_hub:.1f} %  >= 95 %  {'met' if in_hub >= 95 else 'MISSED'}", flush=True
    )


def measure_truth() -> None:
    process = Process("python", True)
    print(f"\nwhat it says (native: {process.native})")
    for what, value, target, met in sampler_truth.verify(process.ask, process.work):
        print(f"  {what:50}{value:42}{target:14}{'met' if met else 'MISSED'}", flush=True)
    process.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run")
    parser.add_argument("--only", default="", help="profilers whose name contains this")
    parser.add_argument("--part", choices=("loops", "turns", "web", "truth"), help="default: all")
    parser.add_argument("--load", choices=LOADS, help="default: both")
    parser.add_argument("--worker", choices=LOADS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker)
        return
    flask = importlib.util.find_spec("flask") is not None
    loads = [load for load in LOADS if arguments.load in (None, load) and (load != "flask" or flask)]
    if arguments.part in (None, "loops"):
        for load in loads:
            measure(load, arguments.rounds, arguments.seconds, arguments.only)
    if arguments.part in (None, "turns"):
        measure_turns(loads, 20 * arguments.seconds)
    if arguments.part in (None, "web") and flask and importlib.util.find_spec("gunicorn"):
        measure_web(arguments.rounds, arguments.seconds, arguments.only)
    if arguments.part in (None, "truth"):
        measure_truth()


if __name__ == "__main__":
    main()
