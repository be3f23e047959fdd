"""What a heap snapshot costs: ``python benchmarks/heap.py`` (some two minutes), or with numbers ``[objects] [rounds]``.

One process is the application: two million objects (instances with a list, a string and an int each), memory of 1 GB,
an embedded server in its thread, and a main thread that looks at the clock every half millisecond and notes the longest
time for which it could not. A second process is the client. The ways are taken in turns (fork, in-process, fork, ...;
Python's own walk once, since it is slow); once for each way the client pulls the whole snapshot and counts its ids.

The pause is what the server tells, and beside it what the main thread saw, which is more where the machine has other
things to do; with nothing going on it sees ``idle``. ``waited`` is the part of the pause in which its thread was ready
and had no processor (from the kernel's schedstat): time that other programs took. Run it on a machine at rest.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import msgpack
import zmq

from rbkit_websocket.profilers.heap import snapshot
from rbkit_websocket.server import Server

RSS = 1 << 30
SLICE = 0.0005
METHODS = ("fork", "in-process", "python")


class Node:
    """A typical small object of an application."""

    def __init__(self, number: int) -> None:
        self.number = number + 10**6
        self.name = f"node {number}"
        self.others: list[Node] = []


# -- the client's process


def client(endpoint: str, pull: bool) -> dict[str, Any]:
    """Has one snapshot made, and pulls it if told to; the server's last word of it, with what came."""
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.connect(endpoint)

        def ask(command: str) -> dict[Any, Any]:
            socket.send(command.encode())
            answer: dict[Any, Any] = msgpack.unpackb(socket.recv(), strict_map_key=False)
            return answer

        facts = ask("snapshot_start")
        while facts["state"] == "running":
            time.sleep(0.02)
            facts = ask(f"snapshot_status {facts['id']}")
        if pull:
            ids = set()
            for number in range(facts["chunks"]):
                ids.update(item[3] for item in ask(f"snapshot_chunk {facts['id']} {number}")["objects"])
            facts["ids"] = len(ids)
    return facts


# -- the application's process


def memory(field: str = "VmRSS") -> int:
    """Bytes, of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def without_processor() -> int:
    """Nanoseconds for which this thread has been ready to run and did not."""
    schedstat = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    return int(schedstat.read_text().split()[1]) if schedstat.exists() else 0


class Watched:
    """The extension, with the time that a fork or a walk waited for a processor."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self.waited_ms = 0.0

    def fork_dump(self, *arguments: Any) -> Any:
        return self._timed(self._module.fork_dump, *arguments)

    def dump(self, *arguments: Any) -> Any:
        return self._timed(self._module.dump, *arguments)

    def _timed(self, function: Any, *arguments: Any) -> Any:
        before = without_processor()
        try:
            return function(*arguments)
        finally:
            self.waited_ms = (without_processor() - before) / 1e6

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def longest_gap(until: Any) -> float:
    """The longest time in which this thread could not run, in milliseconds."""
    longest, last = 0.0, time.perf_counter()
    while not until():
        time.sleep(SLICE)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest * 1000


def take(method: str, directory: str, pull: bool) -> dict[str, Any]:
    native = snapshot.native
    watched = Watched(native) if native is not None else None
    snapshot.native = watched if method != "python" else None  # type: ignore[assignment]
    endpoint = f"ipc://{directory}/req"
    server = Server([], [endpoint], snapshot_fork=method == "fork")
    server.start()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = memory()
        process = subprocess.Popen(
            [sys.executable, __file__, "--client", endpoint, "pull" if pull else ""], stdout=subprocess.PIPE, text=True
        )
        seen = longest_gap(lambda: process.poll() is not None)
        output, _ = process.communicate()
        facts: dict[str, Any] = json.loads(output)
        assert (facts["state"], facts["method"]) == ("done", method), facts
        waited = watched.waited_ms if watched is not None else 0.0
        return {**facts, "seen_ms": seen, "waited_ms": waited, "grown": memory("VmHWM") - before}
    finally:
        server.stop()
        snapshot.native = native


def idle_gap(seconds: float = 2.0) -> float:
    end = time.perf_counter() + seconds
    return longest_gap(lambda: time.perf_counter() > end)


def row(what: str, value: str, target: str, met: bool | None) -> None:
    print(f"{what:58} {value:>22}   {target:>10}  {'' if met is None else 'met' if met else 'MISSED'}")


def report(found: dict[str, list[dict[str, Any]]], rounds: int, idle: float) -> None:
    def middle(method: str, key: str) -> float:
        return statistics.median(result[key] or 0.0 for result in found[method])

    row("", f"median of {rounds}", "target", None)
    if "fork" in found:
        pause, waited = middle("fork", "pause_ms"), middle("fork", "waited_ms")
        ran = statistics.median(one["pause_ms"] - one["waited_ms"] for one in found["fork"])
        row("fork: pause", f"{pause:.1f} ms", "25 ms", pause <= 25)
        row("  of that without a processor (waited)", f"{waited:.1f} ms", "", None)
        row("  the rest: what the fork itself takes", f"{ran:.1f} ms", "25 ms", ran <= 25)
        row("  seen by the application", f"{middle('fork', 'seen_ms'):.1f} ms", "", None)
    row("  seen by the application when nothing is done (idle)", f"{idle:.1f} ms", "", None)
    if "in-process" in found:
        objects = middle("in-process", "objects")
        pause = middle("in-process", "pause_ms") / objects * 1e6
        ran = statistics.median((one["pause_ms"] - one["waited_ms"]) / one["objects"] for one in found["in-process"])
        row("in-process: pause for each million objects", f"{pause:.0f} ms", "300 ms", pause <= 300)
        row("  without waiting for a processor", f"{ran * 1e6:.0f} ms", "300 ms", ran * 1e6 <= 300)
        seen = middle("in-process", "seen_ms") / objects * 1e6
        row("  seen by the application", f"{seen:.0f} ms", "", None)
    for method, results in found.items():
        objects = results[0]["objects"]
        row(
            f"{method}: time for each million objects",
            f"{middle(method, 'duration_ms') / objects * 1e6:.0f} ms",
            "",
            None,
        )
        if method == "python":
            row("  seen by the application", f"{middle(method, 'seen_ms'):.1f} ms", "", None)
        grown = max(result["grown"] for result in results)
        met = None if method == "python" else grown < 100_000_000
        row(f"{method}: the process grew by, at most", f"{grown / 1e6:.0f} MB", "" if met is None else "100 MB", met)
        pulled = next(result["ids"] for result in results if "ids" in result)
        row(f"{method}: ids that arrived, of objects told", f"{pulled} of {objects}", "all", pulled == objects)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    nodes = [Node(number) for number in range(count // 4)]
    for number, node in enumerate(nodes):
        node.others.append(nodes[number // 2])
    ballast = b"x" * max(0, RSS - memory())
    idle = idle_gap()
    print(
        f"Python {sys.version.split()[0]}, {memory() >> 20} MiB RSS ({len(ballast) >> 20} MiB of them one string), "
        f"load {Path('/proc/loadavg').read_text().split()[0]}"
    )
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(rounds):
            for method in METHODS if not number else METHODS[:2]:
                if method == "python" or snapshot.native is not None:
                    found.setdefault(method, []).append(take(method, directory, pull=number == 0))
    if snapshot.native is None:
        print("There is no extension module: this is Python's own walk alone.")
    report(found, rounds, idle)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        print(json.dumps(client(sys.argv[2], sys.argv[3] == "pull")))
    else:
        main()
