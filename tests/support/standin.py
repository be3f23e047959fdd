"""A stand-in Rbkit server over real ZeroMQ, with faults on demand.

In a test it is a thread (:class:`StandIn`), and for tests that kill it a process (:class:`StandInProcess`, or
``python tests/support/standin.py --pub EP --req EP``). It answers like the Ruby server: ``ok`` as raw bytes, the
handshake as a map with integer keys packed with the raw types of the old MessagePack specification. Commands that
begin with ``standin`` steer it from outside. A command that is empty or begins with NUL it never answers, and nothing
from anybody from then on, as the Ruby server of 0.1.10:

=============================  =======================================================================================
``standin flood COUNT SIZE``   publishes COUNT messages of about SIZE bytes, as fast as ZeroMQ takes them (a third
                               number is the rate a second)
``standin replay [N]``         publishes the recordings N times
``standin delay SECONDS``      answers everything that much later
``standin silent``             never answers again
``standin die``                the process exits at once (in a thread: both sockets close)
``standin commands``           answers with the list of the commands received, as MessagePack
``standin subscribers``        answers with the number of subscriptions, as MessagePack
``standin echo TEXT``          answers with TEXT
``standin answer SIZE``        answers with SIZE bytes (all 256 values in turn)
=============================  =======================================================================================
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import zmq

sys.path[:0] = [] if __package__ else [str(Path(__file__).parents[1])]
from support.waiting import scaled, wait_until  # noqa: E402

RECORDINGS = {
    path.stem: path.read_bytes() for path in sorted((Path(__file__).parents[1] / "recordings").glob("*.msgpack"))
}

ALL_BYTES = bytes(range(256))


def pack(value: Any) -> bytes:
    """MessagePack as the Ruby server of 2013 wrote it: no str8, no bin."""
    return msgpack.packb(value, use_bin_type=False)


def collection(counter: int, size: int) -> bytes:
    """One publication of about ``size`` bytes (at least some 40) that bears ``counter``."""
    event = {0: 6, 1: time.time() * 1000, 2: {"padding": "x" * max(0, size - 48)}}
    return pack({0: 7, 1: time.time() * 1000, 9: counter, 2: [event]})


def counter_of(publication: bytes) -> int:
    """The message counter of a publication."""
    return msgpack.unpackb(publication, strict_map_key=False, raw=True)[9]


class StandIn:
    """The stand-in in a native thread of this process; a context manager.

    Args:
        pub, req: endpoints to bind; ``tcp://127.0.0.1:*`` picks a port. Without them ipc in a directory of its own.
        strict_rep: a REP socket as in Ruby (one command at a time) rather than a ROUTER.
        delay: seconds before each answer.
        silent: never answer.
        die_on: the command at which both sockets close without an answer.
        pub_hwm: high-water mark of the publishing socket, 0 for none.
    """

    def __init__(
        self,
        pub: str | None = None,
        req: str | None = None,
        *,
        strict_rep: bool = False,
        delay: float = 0.0,
        silent: bool = False,
        die_on: bytes | None = None,
        pub_hwm: int = 0,
    ) -> None:
        self._directory = None if pub and req else tempfile.mkdtemp(prefix="rbs", dir="/tmp")
        self.pub_endpoint = pub or f"ipc://{self._directory}/pub"
        self.req_endpoint = req or f"ipc://{self._directory}/req"
        self.strict_rep = strict_rep
        self.delay = delay
        self.silent = silent
        self.die_on = die_on
        self.pub_hwm = pub_hwm
        self.commands: list[bytes] = []
        """Every command received, in order; those that steer the stand-in are left out."""
        self.wedged = False
        """Whether it has got a command after which the Ruby server never answers again."""
        self.published = 0
        """Publications sent so far; also the next message counter."""
        self.subscribers = 0
        """Subscriptions at the publishing socket now."""
        self.answers: dict[bytes, bytes | Callable[[], bytes]] = {b"handshake": self.handshake}
        """Answers other than ``ok``, by the command or its first word; tests may add to it."""
        self.snapshot: Callable[[int], Iterator[bytes]] = snapshot
        """The messages of the dump of that number."""
        self._profiling: dict[str, int] = {"object_trace_enabled": 0, "cpu_profiling_enabled": 0}
        self._clock = "cpu"
        self._snapshots = itertools.count(1)
        self._jobs: list[list[Any]] = []  # when to go on (monotonic), and the iterator that says when after that
        self._waiting: list[tuple[float, int, list[bytes]]] = []
        self._order = 0
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.on_death: Callable[[], None] = self._stop_soon

    # Life

    def __enter__(self) -> StandIn:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
        if self._failure:
            raise self._failure

    def start(self) -> StandIn:
        """Binds both sockets (again) and starts the thread."""
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._running = True
        bound = threading.Event()
        self._thread = threading.Thread(target=self._guarded, args=(bound,), name="stand-in", daemon=True)
        self._thread.start()
        assert bound.wait(scaled(5)), "the stand-in did not bind"
        if self._failure:
            raise self._failure
        return self

    def stop(self) -> None:
        """Closes both sockets as the end of the process would; :meth:`start` brings them back."""
        if self._thread:
            self._stop_soon()
            self._thread.join(scaled(5))
            assert not self._thread.is_alive(), "the stand-in did not end"
            self._thread = None
            self._wake.close()
            self._woken.close()

    def _stop_soon(self) -> None:
        self._running = False
        self._poke()

    # Orders from the test's thread

    def publish(self, *messages: bytes) -> None:
        """Publishes ready messages as they are."""
        self._add(self._batch(messages))

    def replay(self, times: int = 1, rate: float = math.inf) -> None:
        """Publishes every recording, ``times`` over, at ``rate`` a second or at once."""
        self._add(self._batch((message for _ in range(times) for message in RECORDINGS.values()), rate))

    def flood(self, count: int, size: int = 200, rate: float = math.inf) -> None:
        """Publishes ``count`` messages of about ``size`` bytes with rising counters."""
        self._add(self._batch((lambda: collection(self.published, size) for _ in range(count)), rate))

    def wait_for_subscribers(self, count: int = 1) -> None:
        """Waits until exactly ``count`` subscriptions are there."""
        wait_until(lambda: self.subscribers == count, f"{count} subscribers at the stand-in", timeout=20)

    def wait_for_command(self, command: bytes) -> None:
        """Waits until ``command`` has arrived."""
        wait_until(lambda: command in self.commands, f"command {command!r} at the stand-in")

    def wait_until_idle(self) -> None:
        """Waits until everything ordered has been handed to ZeroMQ."""
        wait_until(lambda: not self._jobs, "the stand-in to finish publishing", timeout=30)

    def _add(self, job: Iterator[float]) -> None:
        self._jobs.append([0.0, job])
        self._poke()

    def _poke(self) -> None:
        try:
            self._wake.send(b"x")
        except OSError:
            pass  # the pipe is full: it will wake up anyway; or the stand-in is stopped and nobody needs to

    def _batch(self, messages: Any, rate: float = math.inf) -> Iterator[float]:
        """Sends; yields when (monotonic time) it wants to go on, at the latest after 100 messages."""
        begin = time.monotonic()
        for number, message in enumerate(messages, 1):
            body = message() if callable(message) else message
            # First, since a test that has received it may look at once.
            self.published += 1
            self._pub.send(body)
            if rate != math.inf:
                yield begin + number / rate
            elif number % 100 == 0:
                yield 0.0

    # The thread

    def _guarded(self, bound: threading.Event) -> None:
        try:
            with zmq.Context() as context:
                self._serve(context, bound)
        except BaseException as error:
            self._failure = error
        finally:
            bound.set()

    def _serve(self, context: zmq.Context, bound: threading.Event) -> None:
        with context.socket(zmq.XPUB) as pub, context.socket(zmq.REP if self.strict_rep else zmq.ROUTER) as rep:
            pub.sndhwm = self.pub_hwm
            pub.linger = rep.linger = 0
            pub.setsockopt(zmq.XPUB_VERBOSER, 1)
            self.pub_endpoint = _bind(pub, self.pub_endpoint)
            self.req_endpoint = _bind(rep, self.req_endpoint)
            self._pub = pub
            self.subscribers = 0
            poller = zmq.Poller()
            for readable in (pub, rep, self._woken.fileno()):
                poller.register(readable, zmq.POLLIN)
            bound.set()
            self._waiting.clear()
            self._jobs.clear()
            while self._running:
                ready = dict(poller.poll(self._patience()))
                if self._woken.fileno() in ready:
                    self._woken.recv(4096)
                while pub in ready and pub.poll(0):
                    self.subscribers += 1 if pub.recv()[:1] == b"\1" else -1
                while rep in ready and self._running and rep.poll(0):
                    self._receive(rep)
                while self._running and self._waiting and self._waiting[0][0] <= time.monotonic():
                    rep.send_multipart(heapq.heappop(self._waiting)[2])
                self._run_jobs()

    def _patience(self) -> int:
        """Milliseconds until the next thing is due."""
        due = [answer[0] for answer in self._waiting[:1]] + [job[0] for job in self._jobs]
        return math.ceil(max(0.0, min(due) - time.monotonic()) * 1000) if due else 1000

    def _receive(self, rep: zmq.Socket) -> None:
        *envelope, command = rep.recv_multipart()
        answer = self._obey(command)
        if answer is not None:
            # The length of the list would not do as tie-breaker: it falls again.
            self._order += 1
            heapq.heappush(self._waiting, (time.monotonic() + self.delay, self._order, [*envelope, answer]))

    def _run_jobs(self) -> None:
        for job in list(self._jobs):
            if job[0] <= time.monotonic():
                job[0] = next(job[1], math.inf)
                if job[0] == math.inf:
                    self._jobs.remove(job)

    def _obey(self, command: bytes) -> bytes | None:
        command = command.partition(b"\0")[0]  # a string of C
        self.wedged = self.wedged or not command
        if self.wedged:
            return None
        if command.startswith(b"standin "):
            return self._steer(command.decode().split()[1:])
        self.commands.append(command)
        if command == self.die_on:
            self.on_death()
            return None
        if command == b"objectspace_snapshot":
            self._jobs.append([0.0, self._batch(self.snapshot(next(self._snapshots)))])
        switch = {
            b"start_memory_profile": ("object_trace_enabled", 1),
            b"stop_memory_profile": ("object_trace_enabled", 0),
            b"start_cpu_profiling": ("cpu_profiling_enabled", 1),
            b"stop_cpu_profiling": ("cpu_profiling_enabled", 0),
        }.get(command)
        if switch:
            self._profiling[switch[0]] = switch[1]
        if command in (b"use_wall_time", b"use_cpu_time"):
            self._clock = command[4:-5].decode()
        answer = self.answers.get(command, self.answers.get(command.partition(b" ")[0], b"ok"))
        if callable(answer):
            answer = answer()
        return None if self.silent else answer

    def _steer(self, words: list[str]) -> bytes | None:
        name, *arguments = words
        orders: dict[str, Callable[..., bytes | None]] = {
            "flood": lambda count, size, rate="inf": self.flood(int(count), int(size), float(rate)),
            "replay": lambda times="1": self.replay(int(times)),
            "delay": lambda seconds: setattr(self, "delay", float(seconds)),
            "silent": lambda: setattr(self, "silent", True),
            "die": lambda: self.on_death(),
            "commands": lambda: pack(self.commands),
            "subscribers": lambda: pack(self.subscribers),
            "echo": lambda text: text.encode(),
            "answer": lambda size: (ALL_BYTES * (int(size) // 256 + 1))[: int(size)],
        }
        answer = orders[name](*arguments)
        if answer is None and name not in ("silent", "die"):
            answer = b"ok"
        return answer

    def handshake(self) -> bytes:
        """The answer to ``handshake``, packed."""
        payload = {
            "rbkit_server_version": "0.3.0",
            "rbkit_protocol_version": "2.1",
            "process_name": "stand-in with a name of more than thirty-one bytes",
            "pwd": "/",
            "pid": os.getpid(),
            **self._profiling,
            "clock_type": self._clock,
            "cpu_profiling_mode": "sampling",
        }
        return pack({0: 8, 1: time.time() * 1000, 2: payload})


def snapshot(correlation: int, objects: int = 2500) -> Iterator[bytes]:
    """A heap of ``objects`` objects in messages of a thousand, without collection counters as in protocol 2.0."""
    for start in range(0, objects, 1000):
        part = [
            {3: number + 1, 4: "String", 5: [number] if number else [], 6: "/app.rb", 7: 1, 8: 40}
            for number in range(start, min(start + 1000, objects))
        ]
        event = {0: 5, 1: time.time() * 1000, 10: correlation, 11: objects, 2: part}
        yield pack({0: 7, 1: time.time() * 1000, 9: start // 1000, 2: [event]})


def _bind(endpoint_socket: zmq.Socket, endpoint: str) -> str:
    def bound() -> bool:
        try:
            endpoint_socket.bind(endpoint)
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE:
                raise
            return False  # the port of a server that has just been killed is not free at once
        return True

    wait_until(bound, f"{endpoint} to become free")
    return endpoint_socket.last_endpoint.rstrip(b"\0").decode()


class StandInProcess:
    """The stand-in as a process of its own, for tests that kill it; a context manager.

    Args:
        options: further command line options, see ``--help``.
    """

    def __init__(self, *options: str, pub: str | None = None, req: str | None = None) -> None:
        self._directory = tempfile.mkdtemp(prefix="rbs", dir="/tmp")
        self.pub_endpoint = pub or f"ipc://{self._directory}/pub"
        self.req_endpoint = req or f"ipc://{self._directory}/req"
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> StandInProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> StandInProcess:
        """Starts the process, again on the same endpoints after :meth:`kill`, and waits until it is bound."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--pub", self.pub_endpoint, "--req", self.req_endpoint, *self._options],
            stdout=subprocess.PIPE,
            text=True,
        )
        words = self._process.stdout.readline().split()
        assert words[:1] == ["ready"], "the stand-in process did not start"
        self.pub_endpoint, self.req_endpoint = words[1:]
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Ends the process with a signal and reaps it."""
        if self._process:
            self._process.send_signal(number)
            self._process.wait(scaled(5))
            self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """Stops the process without closing anything; only :meth:`kill` and :meth:`thaw` work on it then."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen process go on."""
        self._process.send_signal(signal.SIGCONT)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pub", default="tcp://127.0.0.1:5555", help="endpoint of the publications")
    parser.add_argument("--req", default="tcp://127.0.0.1:5556", help="endpoint of the commands")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--silent", action="store_true", help="never answer")
    parser.add_argument("--die-on", metavar="COMMAND", help="exit when this command arrives")
    parser.add_argument("--replay-rate", type=float, help="publish the recordings for ever, so many a second")
    parser.add_argument("--strict-rep", action="store_true", help="a REP socket, as in Ruby")
    arguments = parser.parse_args()
    stand_in = StandIn(
        arguments.pub,
        arguments.req,
        delay=arguments.delay,
        silent=arguments.silent,
        die_on=arguments.die_on.encode() if arguments.die_on else None,
        strict_rep=arguments.strict_rep,
    )
    stand_in.on_death = lambda: os._exit(9)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with stand_in:
        print("ready", stand_in.pub_endpoint, stand_in.req_endpoint, flush=True)
        if arguments.replay_rate:
            stand_in.replay(1_000_000, arguments.replay_rate)
        ended.wait()


if __name__ == "__main__":
    main()
