"""What CPU profilers cost: ``python benchmarks/sampler.py [--rounds 9] [--seconds 1.0] [--only WORD]``.

Two loads, a loop of pure Python and a Flask application that makes JSON and a template, each in the main thread of a
process of its own. Every profiler is switched on and off in turns (A B A B ...) in the same process, with a client in
another one that polls ``cpu_profile`` each second, or takes the raw samples. A ratio compares a run with the run before
it; printed are medians, for the time that passed and for the CPU time of the main thread (which says less, but other
programs disturb it less). py-spy, pyinstrument and Flask take part where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgpack
import zmq

# -- the process that is measured


def pure_python() -> Callable[[], object]:
    """Function calls, a dictionary, some numbers."""

    def leaf(number: int) -> int:
        return (number * 31) ^ (number >> 3)

    def middle(table: dict[int, int], number: int) -> int:
        table[number & 255] = leaf(number)
        return table[number & 255] + leaf(number + 1)

    def work() -> int:
        table: dict[int, int] = {}
        return sum(middle(table, number) for number in range(2000))

    return work


def flask_application() -> Callable[[], object]:
    """One request for JSON and one for a page."""
    import flask

    app = flask.Flask("benchmark")
    rows = [{"id": number, "name": f"item {number}", "price": number / 7} for number in range(40)]
    page = "<ul>{% for row in rows %}<li>{{ row.id }}: {{ row.name }} {{ '%.2f' % row.price }}</li>{% endfor %}</ul>"
    app.add_url_rule("/json", "json", lambda: flask.jsonify(rows))
    app.add_url_rule("/page", "page", lambda: flask.render_template_string(page, rows=rows))
    client = app.test_client()

    def work() -> None:
        for path in ("/json", "/page"):
            if client.get(path).status_code != 200:
                raise RuntimeError(path)

    return work


# Some ten milliseconds.
BATCH = 10
LOADS = {"python": pure_python, "flask": flask_application}


def worker(load: str) -> None:
    """Reads ``seconds [profiler]`` a line; answers with units of work, seconds and CPU seconds."""
    from rbkit_websocket import start_server

    server = start_server(int(os.environ["PORT"]), int(os.environ["PORT"]) + 1)
    work = LOADS[load]()
    print(json.dumps({"native": server.status["native"] if server else "no server"}), flush=True)
    for line in sys.stdin:
        seconds, _, profiler = line.strip().partition(" ")
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


@contextmanager
def in_process(profiler: str) -> Iterator[None]:
    if profiler == "cProfile":
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
        yield
        profile.disable()
    elif profiler == "pyinstrument":
        import pyinstrument

        instrument = pyinstrument.Profiler(interval=0.001)
        instrument.start()
        yield
        instrument.stop()
    else:
        yield


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
    command = ["py-spy", "record", "--rate", "1000", "--format", "raw", "-o", os.devnull, "--pid", str(process.pid)]
    path = os.path.join(os.path.dirname(sys.executable), "py-spy")
    command[0] = path if os.path.exists(path) else command[0]
    spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)

    def stop() -> None:
        spy.terminate()
        spy.wait()

    return stop


def profilers() -> dict[str, tuple[bool, Switch | None, str, bool]]:
    """Name to: the native sampler or the fallback; a switch; a profiler in the process; whether a client polls."""
    found: dict[str, tuple[bool, Switch | None, str, bool]] = {
        "nothing (noise)": (True, None, "", False),
        "native 1 kHz, polled": (True, ours(1000, "start_cpu_polling"), "", True),
        "native 1 kHz, raw samples": (True, ours(1000, "start_cpu_profiling"), "", False),
        "native 10 kHz, polled": (True, ours(100, "start_cpu_polling"), "", True),
        "Python fallback 100 Hz, polled": (False, ours(1000, "start_cpu_polling"), "", True),
    }
    if shutil.which("py-spy") or os.path.exists(os.path.join(os.path.dirname(sys.executable), "py-spy")):
        found["py-spy 1 kHz"] = (True, py_spy, "", False)
    if importlib.util.find_spec("pyinstrument"):
        found["pyinstrument 1 kHz"] = (True, None, "pyinstrument", False)
    found["cProfile"] = (True, None, "cProfile", False)
    return found


def measure(load: str, rounds: int, seconds: float, only: str) -> None:
    processes = {native: Process(load, native) for native in (True, False)}
    print(
        f"\n{load} (native: {processes[True].native}), {rounds} rounds of {seconds:g} s; slow-down of time / CPU time"
    )
    chosen = {name: what for name, what in profilers().items() if only in name}
    ratios: dict[str, list[list[float]]] = {name: [] for name in chosen}
    rate: dict[str, list[float]] = {name: [] for name in chosen}
    for process in processes.values():
        process.run(seconds)
    for _ in range(rounds):
        for name, (native, switch, inside, poll) in chosen.items():
            process = processes[native]
            alone = process.run(seconds)
            stop = switch(process) if switch is not None else None
            if poll:
                process.poll()
            process.samples = 0
            with_it = process.run(seconds, inside, poll)
            if poll:
                rate[name].append(process.samples / seconds)
            if stop is not None:
                stop()
            alone["wall"], with_it["wall"] = alone["wall"] / alone["units"], with_it["wall"] / with_it["units"]
            alone["cpu"], with_it["cpu"] = alone["cpu"] / alone["units"], with_it["cpu"] / with_it["units"]
            ratios[name].append([with_it[key] / alone[key] for key in ("wall", "cpu", "typical")])
    for name, runs in ratios.items():
        medians = [statistics.median(values) for values in zip(*runs, strict=True)]
        text = "".join(f"{value:8.3f}" for value in medians)
        hertz = f"   {statistics.median(rate[name]):.0f} samples a second" if rate[name] else ""
        print(f"  {name:30}{text}{hertz}", flush=True)
    for process in processes.values():
        process.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="", help="profilers whose name contains this")
    parser.add_argument("--load", choices=LOADS, help="default: both")
    parser.add_argument("--worker", choices=LOADS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker)
        return
    for load in LOADS:
        if arguments.load in (None, load) and (load != "flask" or importlib.util.find_spec("flask")):
            measure(load, arguments.rounds, arguments.seconds, arguments.only)


if __name__ == "__main__":
    main()
