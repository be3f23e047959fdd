"""What a heap snapshot costs: ``python benchmarks/heap.py [objects] [rounds] [ballast in MiB]``.

The process holds about that many objects (instances with a list, a string and an int each) and as much ballast as
asked for, so that the fork's pause can be seen at the size of a real worker. The ways are taken in turns (fork,
in-process, fork, in-process, ...; Python's own walk in the first round only, since it is slow), and medians are told.
The pause is how long the process stood still; beside it the CPU time of a fork, and what a second thread saw that looks
at the clock every half millisecond. Where the machine has other things to do, a fork also waits for them.
"""

from __future__ import annotations

import _thread
import gc
import statistics
import sys
import threading
import time
from typing import Any

from rbkit_websocket.profilers import snapshot
from rbkit_websocket.profilers.base import Host
from rbkit_websocket.profilers.dumpfile import directories
from rbkit_websocket.profilers.snapshot import Snapshot


class Node:
    """A typical small object of an application."""

    def __init__(self, number: int) -> None:
        self.number = number + 10**6
        self.name = f"node {number}"
        self.others: list[Node] = []


class Watch:
    """The longest time in which a thread that wants to run could not."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        last = time.perf_counter()
        while not self._stop.is_set():
            time.sleep(0.0005)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now

    def __enter__(self) -> Watch:
        self._thread.start()
        time.sleep(0.01)
        self.longest = 0.0
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()


def memory(field: str = "VmRSS") -> float:
    """MiB, of /proc/self/status."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def take(method: str, host: Host) -> dict[str, Any]:
    native = snapshot.native
    if method == "python":
        snapshot.native = None
    one = Snapshot(1, host, fork=method == "fork", pause=True, directories=directories())
    before = memory()
    peak = before
    try:
        with Watch() as watch:
            began = time.thread_time()
            one.begin()
            cpu = time.thread_time() - began
            assert one.method == method, one.why
            for wait in one.make():
                peak = max(peak, memory())
                time.sleep(wait or 0)
        assert one.state == "done", one.message
        return {
            **one.facts(),
            "seen_ms": watch.longest * 1000,
            "cpu_ms": cpu * 1000,
            "grown": max(peak, memory()) - before,
        }
    finally:
        snapshot.native = native
        one.close()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    ballast = b"x" * ((int(sys.argv[3]) if len(sys.argv) > 3 else 0) << 20)
    nodes = [Node(number) for number in range(count // 4)]
    for number, node in enumerate(nodes):
        node.others.append(nodes[number // 2])
    gc.collect()
    host = Host(_thread.start_new_thread, _thread.allocate_lock, _thread.get_ident, _thread.get_ident())
    found: dict[str, list[dict[str, Any]]] = {}
    for number in range(rounds):
        for method in ("fork", "in-process", "python"):
            if (method == "python" and number) or (method != "python" and snapshot.native is None):
                continue
            found.setdefault(method, []).append(take(method, host))
    print(f"Python {sys.version.split()[0]}, {memory():.0f} MiB RSS, {len(ballast) >> 20} of them ballast")
    for method, results in found.items():
        objects = results[0]["objects"]

        def median(key: str, results: list[dict[str, Any]] = results) -> float:
            return statistics.median(result[key] or 0.0 for result in results)

        print(
            f"{method:11} {objects} objects, {median('bytes') / 2**20:.0f} MiB: pause {median('pause_ms'):.1f} ms "
            f"(CPU {median('cpu_ms'):.1f}, seen {median('seen_ms'):.1f}), duration {median('duration_ms'):.0f} ms "
            f"= {median('duration_ms') / objects * 1e6:.0f} ms per million, process grew by {median('grown'):.0f} MiB"
        )


if __name__ == "__main__":
    main()
