"""What watching objects costs: ``python benchmarks/tracing.py [--rounds 9] [--seconds 1.0] [--only WORD]``.

Two loads. ``objects`` makes and drops instances of small classes, lists and dictionaries, which is the worst that can
be. ``flask`` is a real Flask application (JSON and a template) under gunicorn with one gevent worker and the
middleware; a client in another process sends requests over one connection. Each way of watching is switched on and off
in turns (A B A B ...) in one process, over the server's commands, while a subscriber takes what is published. A ratio
compares the processor time of the process for one unit of work with that of the run before it, so what the server's own
thread spends is in it; printed are medians. "nothing" is the noise.

The census is measured over a heap of ``--heap`` objects: its processor time by the time that passed, and the longest
slice.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack

from rbkit_websocket.transport import LocalConnection, endpoint_path
from rbkit_websocket.transport.wire import WANTS_COMMANDS, WANTS_PUBLICATIONS

# -- the processes that are measured


class Point:
    def __init__(self, x: int, y: int) -> None:
        self.x = x
        self.y = y


class Slotted:
    __slots__ = ("x",)


def objects() -> None:
    """4000 objects, half of them of classes written in Python."""
    kept: list[object] = []
    for number in range(1000):
        kept.append(Point(number, 1))
        Slotted()
        kept.append([number])
        kept.append({"number": number})
        if len(kept) > 300:
            kept.clear()


def flask_application() -> Any:
    import flask

    from rbkit_websocket import RbkitWebsocket

    app = flask.Flask("benchmark")
    rows = [{"id": number, "name": f"item {number}", "price": number / 7} for number in range(40)]
    page = "<ul>{% for row in rows %}<li>{{ row.id }}: {{ row.name }} {{ '%.2f' % row.price }}</li>{% endfor %}</ul>"
    app.add_url_rule("/json", "json", lambda: flask.jsonify(rows))
    app.add_url_rule("/page", "page", lambda: flask.render_template_string(page, rows=rows))
    app.add_url_rule("/used", "used", lambda: str(time.process_time()))
    app.wsgi_app = RbkitWebsocket(app.wsgi_app, token=False)
    return app


def worker(heap: int) -> None:
    """Reads seconds a line; works as long, and answers with units of work and processor seconds."""
    from rbkit_websocket import RbkitWebsocket, ensure_started

    entry = RbkitWebsocket(lambda _environ, _start: [], token=False)
    ensure_started()
    ballast = [[number] for number in range(heap)]
    print("ready", flush=True)
    for line in sys.stdin:
        units, used, until = 0, time.process_time(), time.perf_counter() + float(line)
        while time.perf_counter() < until:
            objects()
            units += 1
        print(json.dumps({"units": units, "cpu": time.process_time() - used}), flush=True)
    del ballast, entry


# -- measuring


class Waiting:
    """A connection to an embedded server's Unix socket that waits for messages."""

    def __init__(self, path: str, purpose: bytes) -> None:
        self._connection = LocalConnection(path, purpose)
        self.send, self.close = self._connection.send, self._connection.close

    def receive(self, seconds: float) -> bytes | None:
        """The next message; None when none comes in time."""
        deadline = time.monotonic() + seconds
        while (message := self._connection.take()) is None:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self._connection.over:
                return None
            select.select([self._connection.descriptor], [], [], remaining)
            self._connection.look()
        return message


class Server:
    """An embedded server's commands, and a subscriber that takes everything."""

    def __init__(self, directory: str) -> None:
        path = endpoint_path(self._record(directory)["endpoint"]) or ""
        self._commands = Waiting(path, WANTS_COMMANDS)
        self._publications = Waiting(path, WANTS_PUBLICATIONS)
        self.events = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _record(self, directory: str) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for folder, _, names in os.walk(directory):
                for name in names:
                    if name.endswith(".json"):
                        with suppress(ValueError), open(os.path.join(folder, name)) as file:
                            return dict(json.load(file))
            time.sleep(0.05)
        raise RuntimeError("the embedded server did not start")

    def ask(self, command: str) -> Any:
        self._commands.send(command.encode())
        if (answer := self._commands.receive(60)) is None:
            raise RuntimeError(f"no answer to {command}")
        return None if answer == b"ok" else msgpack.unpackb(answer, raw=False, strict_map_key=False)

    def _take(self) -> None:
        while not self._ended.is_set():
            if (data := self._publications.receive(0.05)) is not None:
                message = msgpack.unpackb(data, raw=False, strict_map_key=False)
                self.events += sum(event[0] in (0, 1) for event in message[2])

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        for end in (self._commands, self._publications):
            end.close()


def environment(directory: str, native: bool) -> dict[str, str]:
    return {"RBKIT_RUNTIME_DIR": directory, "RBKIT_NATIVE": "" if native else "0", "RBKIT_LINGER": str(LINGER)}


class Objects:
    """The load without a web server."""

    def __init__(self, native: bool, heap: int) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="rbb", dir="/tmp")
        environ = {**os.environ, **environment(self._directory.name, native)}
        command = [sys.executable, __file__, "--worker", "--heap", str(heap)]
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self.server = Server(self._directory.name)

    def run(self, seconds: float) -> float:
        """Processor seconds of a unit."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        answer = json.loads(self._process.stdout.readline())
        return float(answer["cpu"] / answer["units"])

    def close(self) -> None:
        self.server.close()
        self._process.communicate()
        self._directory.cleanup()


class Flask:
    """The load under gunicorn."""

    def __init__(self, native: bool, _heap: int) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="rbb", dir="/tmp")
        environ = {**os.environ, **environment(self._directory.name, native)}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        here = os.path.dirname(os.path.abspath(__file__))
        command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-b", f"127.0.0.1:{self._port}", "--chdir", here]
        command += ["--log-level", "warning", "--max-requests", "0", "--keep-alive", "60"]
        self._process = subprocess.Popen([*command, "tracing:flask_application()"], env=environ)
        deadline = time.monotonic() + 20
        while True:
            try:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port)
                self._get("/json")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        self.server = Server(self._directory.name)

    def _get(self, path: str) -> bytes:
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status}")
        return body

    def run(self, seconds: float) -> float:
        """Processor seconds of two requests."""
        units, used, until = 0, float(self._get("/used")), time.perf_counter() + seconds
        while time.perf_counter() < until:
            self._get("/json")
            self._get("/page")
            units += 1
        return (float(self._get("/used")) - used) / units

    def close(self) -> None:
        self._connection.close()
        self.server.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._directory.cleanup()


LINGER = 1.5  # how long the census goes on without being asked

LOADS: dict[str, Callable[[bool, int], Objects | Flask]] = {"objects": Objects, "flask": Flask}
PATTERN = {"objects": "__main__.*", "flask": "flask.* jinja2.* werkzeug.*"}


def ways(load: str) -> dict[str, tuple[bool, str, str]]:
    """Name to: the extension or the fallback; the commands that switch it on and off."""
    return {
        "nothing (noise)": (True, "ping", "ping"),
        "start_memory_profile": (True, "start_memory_profile", "stop_memory_profile"),
        f"trace_objects {PATTERN[load]}": (True, f"trace_objects {PATTERN[load]}", "stop_memory_profile"),
        "trace_objects *": (True, "trace_objects *", "stop_memory_profile"),
        "memory_profile each second": (True, "memory_profile", "stop_memory_profile"),
        "both": (True, "start_memory_profile", "stop_memory_profile"),
        "Python: start_memory_profile": (False, "start_memory_profile", "stop_memory_profile"),
        "Python: memory_profile each second": (False, "memory_profile", "stop_memory_profile"),
    }


def polled(way: str) -> bool:
    """Whether a client asks each second, as a dashboard does."""
    return "each second" in way or way == "both"


def polling(server: Server, on: bool) -> Callable[[], None]:
    """Asks each second, in a thread of its own, until what it returns is called."""
    if not on:
        return lambda: None
    ended = threading.Event()

    def poll() -> None:
        cursor = ""
        while not ended.wait(1.0):
            cursor = f" {server.ask(f'memory_profile{cursor}')['cursor']}"

    thread = threading.Thread(target=poll)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join()

    return end


def measure(load: str, rounds: int, seconds: float, heap: int, only: str) -> None:
    loads = {native: LOADS[load](native, heap) for native in (True, False)}
    chosen = {name: way for name, way in ways(load).items() if only in name}
    ratios: dict[str, list[float]] = {name: [] for name in chosen}
    events: dict[str, list[float]] = {name: [] for name in chosen}
    mechanisms: dict[str, str] = {}
    for process in loads.values():
        process.run(seconds)
    for _ in range(rounds):
        for name, (native, on, off) in chosen.items():
            process = loads[native]
            alone = process.run(seconds)
            process.server.ask(on)
            if load == "objects":
                process.run(0.2)  # switching on looks at every class once; what follows is what it costs
            end = polling(process.server, polled(name))
            process.server.events = 0
            ratios[name].append(process.run(seconds) / alone)
            events[name].append(process.server.events / seconds)
            end()
            mechanisms[name] = process.server.ask("handshake")[2]["object_trace"]
            process.server.ask(off)
            if polled(name):
                time.sleep(LINGER + 0.5)
    print(f"\n{load}, {rounds} rounds of {seconds:g} s, Python {sys.version.split()[0]}")
    for name, runs in ratios.items():
        said = mechanisms[name].split(";")[0][:40]
        print(f"  {name:48}{statistics.median(runs):7.3f}   {statistics.median(events[name]):6.0f} events/s   {said}")
    for process in loads.values():
        process.close()


def census(heap: int) -> None:
    """Its share of the time, and its longest slice."""
    from rbkit_websocket.profilers.memory.census import Census
    from rbkit_websocket.server.originals import AppThread, make_host

    ballast = [[number] for number in range(heap)]
    app = AppThread()
    census = Census(make_host(app))
    census.switch(True)
    began, used, longest, done = time.monotonic(), time.thread_time(), 0.0, 0
    last = 0.0
    while time.monotonic() < began + 20:
        due = census.deadline()
        assert due is not None
        time.sleep(max(0.0, due - time.monotonic()))
        before = time.thread_time()
        census.tick(time.monotonic())
        longest = max(longest, time.thread_time() - before)
        done += census.last.at_ms != last
        last = census.last.at_ms
    share = (time.thread_time() - used) / (time.monotonic() - began)
    print(
        f"\ncensus of {census.last.total} objects: {census.method}; {done} in 20 s, {share:.2%} of a processor, "
        f"{census.last.took_usec / 1000:.1f} ms each, longest turn {longest * 1000:.1f} ms"
    )
    del ballast
    app.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--heap", type=int, default=1_000_000, help="objects that are there while it is measured")
    parser.add_argument("--only", default="", help="what has this in its name")
    parser.add_argument("--load", choices=[*LOADS, "census"], help="default: all")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.heap)
        return
    for load in LOADS:
        if arguments.load in (None, load):
            measure(load, arguments.rounds, arguments.seconds, arguments.heap, arguments.only)
    if arguments.load in (None, "census"):
        census(arguments.heap)


if __name__ == "__main__":
    main()
