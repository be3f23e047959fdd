"""Workers that are killed and reloaded under load, and whether the list of servers tells the truth meanwhile.

Three kinds of threads: one that kills and reloads, some that load the application (they see which workers answer), and
one that reads the list over and over and compares it with the processes there are.
"""

from __future__ import annotations

import http.client
import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError

import psutil

from .servers import TOKEN, WebServer, alive

KILL_EVERY = 1.0
RELOAD_EVERY = 2.5
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LOST = (URLError, OSError, http.client.HTTPException)


class Chaos:
    """What happens to a gunicorn and what is seen of it. Everything ends with :meth:`running`.

    Attributes:
        killed, reloads: what was done.
        listings: how often the list was read.
        stale: seconds for which the list showed a dead worker, at the worst.
        missing: seconds for which it lacked one that answered requests then, at the worst. (Whether its process is
            there would tell less: it takes its time to end, with its server gone.)
        answered: requests of the load that were answered.
        ids: ids of servers by pid, as the list showed them.
    """

    def __init__(self, web: WebServer) -> None:
        self._web = web
        self._over = threading.Event()
        self._random = random.Random(1)  # a fixed seed: the same order of victims in every run
        self._dead: dict[int, float] = {}
        self._serving: dict[int, tuple[float, float]] = {}  # when it answered first, and last
        self._omitted: dict[int, tuple[float, float]] = {}  # the first list without it, and the last
        self._lock = threading.Lock()
        self._failures: list[BaseException] = []
        self.killed: list[int] = []
        self.reloads = 0
        self.listings = 0
        self.stale = self.missing = 0.0
        self.answered = 0
        self.ids: dict[int, str] = {}

    @contextmanager
    def running(self) -> Iterator[Chaos]:
        """While the body runs; what goes wrong in a thread is raised at its end."""
        jobs = [self._harm, self._observe, self._load, self._load]
        threads = [threading.Thread(target=self._guarded, args=(job,), name=job.__name__) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join(60)
        if self._failures:
            raise self._failures[0]

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as failure:
            self._failures.append(failure)

    def listing(self) -> list[dict[str, Any]]:
        """The list as some worker tells it; asks again when that worker is killed meanwhile."""
        while True:
            try:
                return json.loads(self._web.get("/__rbkit__/servers", headers=BEARER, timeout=10))["servers"]
            except LOST:
                time.sleep(0.01)

    def _harm(self) -> None:
        reloaded = time.monotonic()
        while not self._over.wait(KILL_EVERY):
            # One that is at work: to kill those that only start would try gunicorn, not us.
            serving = {pid: since for pid, (since, _) in self._answers().items() if alive(pid)}
            if serving:
                victim = self._random.choice(sorted(serving))
                psutil.Process(victim).kill()
                self.killed.append(victim)
            # Not before the workers of the last reload have served: a slow machine would never have any.
            if time.monotonic() - reloaded > RELOAD_EVERY and any(since > reloaded for since in serving.values()):
                reloaded = time.monotonic()
                self._web.signal(signal.SIGHUP)
                self.reloads += 1

    def _load(self) -> None:
        while not self._over.is_set():
            try:
                pid = int(self._web.get("/hello", timeout=10).split()[-1])
            except LOST:
                continue
            with self._lock:
                self.answered += 1
                now = time.monotonic()
                self._serving[pid] = (self._serving.get(pid, (now, now))[0], now)
            try:
                self._web.get("/nap", timeout=10, seconds="0.02")
            except LOST:
                continue

    def _answers(self) -> dict[int, tuple[float, float]]:
        with self._lock:
            return dict(self._serving)

    def _observe(self) -> None:
        while not self._over.wait(0.02):
            dead = {pid for pid in self.ids if not alive(pid)}
            served = set(self._answers())
            begin = time.monotonic()
            for pid in dead:
                self._dead.setdefault(pid, begin)
            listed = {entry["pid"]: entry["id"] for entry in self.listing()}
            self.listings += 1
            self.ids.update(listed)
            for pid in dead & set(listed):
                self.stale = max(self.stale, begin - self._dead[pid])
            for pid in served - set(listed):
                self._omitted[pid] = (self._omitted.get(pid, (begin, begin))[0], begin)
            for pid, (_, last) in self._answers().items():
                first, again = self._omitted.get(pid, (0.0, 0.0))
                if last > again:
                    self.missing = max(self.missing, again - first)
            for pid in listed:
                self._omitted.pop(pid, None)
