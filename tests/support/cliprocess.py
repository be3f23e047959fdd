"""The command line as a process whose output is read as it comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from .program import kill_and_tell
from .waiting import scaled, wait_until

# The command as it was installed: -m would take the sources of the directory that the tests run in.
COMMAND = [sys.executable, str(Path(sysconfig.get_path("scripts")) / "rbkit-websocket")]


class Running:
    """A process of the command line, its output read line by line as it comes.

    Args:
        descriptors: how many it may have open.
    """

    def __init__(self, *arguments: str, env: dict[str, str] | None = None, descriptors: int | None = None) -> None:
        limit = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"] if descriptors is not None else []
        self.process = subprocess.Popen(
            [*limit, *COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def url(self) -> str:
        """The WebSocket's address as printed."""
        return wait_until(
            lambda: next((line.split()[1] for line in self.lines if line.startswith("websocket")), None),
            "the address",
            timeout=20,
        )

    @property
    def port(self) -> int:
        return int(re.search(r":(\d+)/", self.url)[1])

    def servers(self) -> list[psutil.Process]:
        """The processes that this one has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Sends a signal and waits: exit code and standard error."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, timeout: float = 15) -> tuple[int, str]:
        """Exit code and standard error."""
        assert self.process.stderr is not None
        try:
            code = self.process.wait(scaled(timeout))
        except subprocess.TimeoutExpired:
            kill_and_tell(self.process)
            raise AssertionError(f"it does not end:\n{self.process.stderr.read()}") from None
        self._reader.join()
        return code, self.process.stderr.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


@contextmanager
def running(*arguments: str, env: dict[str, str] | None = None, descriptors: int | None = None) -> Iterator[Running]:
    process = Running(*arguments, env=env, descriptors=descriptors)
    try:
        yield process
    finally:
        process.close()


def run(*arguments: str) -> tuple[int, list[str], str]:
    """A whole run: exit code, lines of standard output, standard error."""
    with running(*arguments) as process:
        code, errors = process.wait(60)
        return code, process.lines, errors


def gone(processes: list[psutil.Process]) -> None:
    wait_until(lambda: not [p for p in processes if p.is_running() and p.status() != "zombie"], "the server to end")
