"""Starts and ends the process that serves the demo."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from types import TracebackType
from typing import IO, Any, Final

from ..errors import RbkitError
from ..fleet import records
from ..system.clock import time
from .text import clean

__all__ = ["DemoError", "DemoProcess", "DemoStopped"]

START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 3.0
_LOOK: Final = 0.1
# Not by -m: that looks in the working directory first, which for a reader of the README is a checkout, whose sources
# have no extensions.
_SERVER: Final = (
    "import sys; sys.path[:] = filter(None, sys.path); sys.argv[0] = 'rbkit-demo'; "
    "from rbkit_websocket.cli.demo_server import main; sys.exit(main())"
)


class DemoError(RbkitError):
    """The demo's application cannot run; the text says why and what to do."""


class DemoStopped(RbkitError):
    """The demo has been told to end before its application ran."""


def _environment() -> dict[str, str]:
    """Our environment without the middleware's options: the demo is the same with any settings for other use."""
    kept = "RBKIT_RUNTIME_DIR"
    return {name: value for name, value in os.environ.items() if name == kept or not name.startswith("RBKIT_")}


class DemoProcess:
    """The serving process as a context manager: it serves while the context is entered.

    Its standard input is a pipe from this process: if this process is killed, the server reads the pipe's end and ends.

    Args:
        port: TCP port of 127.0.0.1, or 0 for a free one; after entering, the real one.
        name: name of the application.
        token: its token, which travels by the pipe: other users can read command lines.
        unwanted: whether to end instead of waiting for it to serve.

    Raises:
        DemoStopped: the demo was told to end before.
        DemoError: Flask is missing, the port is taken, or the process ended early.
    """

    def __init__(self, port: int, name: str, token: str, unwanted: Callable[[], bool] = lambda: False) -> None:
        self.port = port
        self._unwanted = unwanted
        self._wishes = {"name": name, "token": token}
        self._process: subprocess.Popen[str]
        self._log: IO[bytes]

    @property
    def pid(self) -> int:
        """The serving process."""
        return self._process.pid

    def __enter__(self) -> DemoProcess:
        if find_spec("flask") is None:
            raise DemoError("the demo needs Flask: pip install 'rbkit_websocket[demo]'")
        # Its log would tear the display apart; it is shown when the process fails.
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
            [sys.executable, "-c", _SERVER, "--port", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=_environment(),
            # Ctrl-C is for us; we end it in good order.
            start_new_session=True,
        )
        try:
            report = self._first_line()
            if "error" in report:
                raise DemoError(report["error"])
            self.port = int(report["port"])
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def check(self) -> None:
        """Raises :class:`DemoError` when the process has ended."""
        if self._process.poll() is not None:
            raise DemoError(f"the demo's server ended with code {self._process.returncode}: {self._last_words()}")

    def _first_line(self) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(self._wishes) + "\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it has failed already: its log says why
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + START_TIMEOUT
            # In pieces: a signal does not end the waiting.
            while not selector.select(_LOOK):
                if self._unwanted():
                    raise DemoStopped
                if time.monotonic() < deadline:
                    continue
                raise DemoError(f"the demo's server did not start within {START_TIMEOUT:g} s: {self._last_words()}")
        line = stdout.readline()
        if not line:
            self._process.wait(STOP_TIMEOUT)
            self.check()
        report = json.loads(line)
        assert isinstance(report, dict)
        return report

    def _last_words(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), 4096, max(size - 4096, 0)).decode("utf-8", "replace").strip()
        return clean(text.splitlines()[-1]) if text else "it said nothing"

    def _stop(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass  # unsent input of a process that is gone
        for signal_it in (self._process.terminate, self._process.kill):
            signal_it()
            try:
                self._process.wait(STOP_TIMEOUT)
                break
            except subprocess.TimeoutExpired:
                continue
        self._log.close()
        try:
            # A listing removes files of a killed server: no other process lists an application of this name.
            records.listing(records.runtime_directory(), self._wishes["name"])
        except RbkitError:
            pass  # then the server could not use the directory either
