"""Real web servers as processes: ``SERVERS[name](...)`` starts one on a free port and waits until it listens."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest

from .ports import free_port
from .waiting import scaled, wait_until

TESTS = Path(__file__).parents[1]

TOKEN = "a-token-for-tests"
"""The token of every server that is not told otherwise."""

_serial = itertools.count(1)

# gunicorn and support.serve; uWSGI; the servers of the rest, each in its own words. uWSGI binds before it loads the
# application, and until its workers are there a SIGTERM is lost: it would serve for ever.
_LISTENING = re.compile(
    r"uWSGI http bound on 127\.0\.0\.1:(\d+)(?=(?s:.*)spawned uWSGI worker)"
    r"|(?:Listening at:|Running on|running on|Serving on|server at) https?://127\.0\.0\.1:(\d+)"
    r"|bound to TCP address 127\.0\.0\.1:(\d+) fd(?=(?s:.*)spawned uWSGI worker)"
)

# gunicorn's gevent worker exits in a greenlet of its own, 0.1 s after SIGQUIT: on a busy machine, in the midst of the
# interpreter's own end, whichever way that tells of it.
_LATE_EXIT = re.compile(r"Traceback \(most recent call last\):\n(?:  .*\n)+SystemExit: 0\n")


_CRASHES = frozenset(
    -getattr(signal, name) for name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")
)
# What masters say of a worker: gunicorn, uWSGI.
_CRASHED_WORKER = re.compile(r"was sent SIG(?:ABRT|BUS|FPE|ILL|SEGV|SYS|TRAP)|!!! uWSGI process \d+ got Segmentation")


def is_option(variable: str) -> bool:
    """Whether a variable of the environment is one of the middleware's, and not one of the tests' own."""
    return variable.startswith("RBKIT_") and not variable.startswith("RBKIT_TEST_")


def crash(exit_code: int | None, log: str) -> str:
    """What tells that an interpreter of a server has crashed; empty when nothing does.

    Args:
        exit_code: of the server's own process, negative for a signal.
        log: what it has written.
    """
    if exit_code in _CRASHES:
        return f"the server was ended by {signal.Signals(-exit_code).name}"
    found = _CRASHED_WORKER.search(log) or re.search(r"Fatal Python error: .*", log)
    return found[0] if found else ""


class WebServer:
    """A running web server; a context manager that ends it and reads its log for crashes and tracebacks.

    Args:
        command: what to run.
        workers: how many worker processes to wait for; 0 when the process serves by itself.
        env: ``RBKIT_...`` and other variables; None as a value removes one.
        runtime_dir: shared with another server, else a private one that vanishes with it.
        check_log: whether a traceback in the log is an error.
        stop_signal: how it is ended when the test is done with it and has not ended it by itself.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        workers: int = 0,
        env: Mapping[str, str | None] | None = None,
        runtime_dir: Path | None = None,
        check_log: bool = True,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self._private = Path(tempfile.mkdtemp(prefix="rbw", dir="/tmp"))
        self.runtime_dir = runtime_dir or self._private
        self.check_log = check_log
        self._stop_signal = stop_signal
        self.name = f"test-{os.getpid()}-{next(_serial)}-{secrets.token_hex(3)}"
        variables: dict[str, str | None] = {
            **{key: value for key, value in os.environ.items() if not is_option(key)},
            "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])),
            "PYTHONUNBUFFERED": "1",
            "RBKIT_RUNTIME_DIR": str(self.runtime_dir),
            "RBKIT_NAME": self.name,
            "RBKIT_TOKEN": TOKEN,
            **(env or {}),
        }
        self.environment = {key: value for key, value in variables.items() if value is not None}
        self.name = self.environment.get("RBKIT_NAME", self.name)
        self.token = self.environment.get("RBKIT_TOKEN")
        self._log = self._private / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self._private,
                start_new_session=True,  # whatever is left of it can be killed as a group
            )
        self._workers = workers
        try:
            self._wait_until_ready()
        except BaseException:
            self._remove()
            raise

    def _wait_until_ready(self) -> None:
        def listening() -> re.Match[str] | None:
            assert self.process.poll() is None, f"the server ended at once:\n{self.log()}"
            return _LISTENING.search(self.log())

        found = wait_until(listening, "the server to listen", timeout=20)
        self.port = int(next(filter(None, found.groups())))
        if self._workers:
            wait_until(lambda: len(self.worker_pids()) == self._workers, "all workers", timeout=20)

    # Facts

    @property
    def pid(self) -> int:
        """The process that gets the signals: gunicorn's master, or the server itself."""
        return self.process.pid

    def worker_pids(self) -> list[int]:
        """The processes that serve requests now."""
        if not self._workers:
            return [self.pid]
        return sorted(child.pid for child in psutil.Process(self.pid).children() if alive(child.pid))

    def log(self) -> str:
        """Everything written to stdout and stderr so far."""
        return self._log.read_text(errors="replace")

    def url(self, path: str = "/", *, scheme: str = "ws", **query: str) -> str:
        """An address of this server."""
        return f"{scheme}://127.0.0.1:{self.port}{path}{'?' + urlencode(query) if query else ''}"

    def get(self, path: str, *, headers: Mapping[str, str] | None = None, timeout: float = 30, **query: str) -> bytes:
        """Body of a plain GET request on a connection of its own."""
        request = urllib.request.Request(self.url(path, scheme="http", **query), headers=dict(headers or {}))
        with urllib.request.urlopen(request, timeout=scaled(timeout)) as response:
            return response.read()

    # Life

    def signal(self, number: int) -> None:
        """Sends a signal to :attr:`pid`."""
        self.process.send_signal(number)

    def terminate(self) -> None:
        """Asks the server to end, as an init system would; :meth:`wait` waits for it."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server and all of its workers at once, and reaps it."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # ended by itself
        self.process.wait(scaled(10))

    def wait(self, timeout: float = 10) -> int:
        """Waits for the end and returns the exit code."""
        return self.process.wait(scaled(timeout))

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        log = ""
        try:
            if self.process.poll() is None:
                self.signal(self._stop_signal)
                self.wait(15)
        finally:
            log = self.log()
            self._remove()
            if kind is not None:
                print(f"--- log of {self.process.args}\n{log}---")
        crashed = crash(self.process.returncode, log)
        assert not crashed, f"{crashed}:\n{log}"
        if kind is None and self.check_log:
            assert "Traceback" not in _LATE_EXIT.sub("", log), f"a traceback in the server's log:\n{log}"

    def _remove(self) -> None:
        self.kill()
        shutil.rmtree(self._private, ignore_errors=True)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Gunicorn:
    """Launcher of gunicorn with one kind of worker."""

    worker: str
    options: tuple[str, ...] = ()
    stop_signal: int = signal.SIGQUIT  # the quick shutdown; after SIGTERM gevent workers look only once a second
    multi_worker: bool = True

    def __call__(
        self,
        app: str = "flask",
        *,
        workers: int = 1,
        preload: bool = False,
        graceful_timeout: int = 10,
        options: Sequence[str] = (),
        **rest: Any,
    ) -> WebServer:
        """Starts it; ``app`` is a factory of :mod:`support.apps`, or whatever gunicorn takes (``module:factory()``).

        A worker loses a signal that comes while it boots, and gunicorn waits for as long as ``graceful_timeout``
        (30 s if it is not told) before it kills the worker: here less than a test waits for the end.
        """
        command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "-k", self.worker]
        command += ["--bind", "127.0.0.1:0", "--workers", str(workers), "--access-logfile", "-"]
        command += ["--preload"] if preload else []
        command += ["--graceful-timeout", str(graceful_timeout)]
        rest.setdefault("stop_signal", self.stop_signal)
        target = app if ":" in app else f"support.apps:{app}()"
        return WebServer([*command, *self.options, *options, target], workers=workers, **rest)


@dataclass(frozen=True)
class Plain:
    """Launcher of a server that is one process; see :mod:`support.serve`."""

    server: str
    needs: str = ""
    multi_worker: bool = False

    def __call__(self, app: str = "flask", **rest: Any) -> WebServer:
        """Starts it; ``app`` is a factory of :mod:`support.apps`."""
        if self.needs:
            pytest.importorskip(self.needs, reason=f"{self.needs} is not installed: pip install {self.needs}")
        return WebServer([sys.executable, "-m", "support.serve", self.server, app], **rest)


@dataclass(frozen=True)
class Command:
    """Launcher of a server by its own command line.

    Attributes:
        arguments: of Python, or ``uwsgi`` and its own; ``{app}`` stands for the factory of :mod:`support.apps`,
            ``{port}`` for a free port, where the server cannot choose one by itself.
        needs: the distribution without which tests of it are skipped.
        env: further variables.
    """

    arguments: tuple[str, ...]
    needs: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    multi_worker: bool = False

    def __call__(self, app: str = "flask", *, options: Sequence[str] = (), **rest: Any) -> WebServer:
        """Starts it; ``app`` is a factory of :mod:`support.apps`."""
        if self.needs:
            pytest.importorskip(self.needs, reason=f"{self.needs} is not installed: pip install {self.needs}")
        port = free_port() if any("{port}" in argument for argument in self.arguments) else 0
        command = [argument.format(app=app, port=port) for argument in self.arguments]
        if command[0] == "uwsgi":
            command[0] = str(Path(sys.executable).with_name("uwsgi"))
            if not Path(command[0]).exists():
                pytest.skip("uWSGI is not installed: pip install uwsgi")
        else:
            command.insert(0, sys.executable)
        rest["env"] = {**self.env, **(rest.get("env") or {})}
        return WebServer([*command, *options], **rest)


Launcher = Callable[..., WebServer]

SERVERS: dict[str, Gunicorn | Plain] = {
    "gunicorn-gevent": Gunicorn("gevent"),
    "gunicorn-gevent_pywsgi": Gunicorn("gevent_pywsgi"),
    "gunicorn-geventwebsocket": Gunicorn("geventwebsocket.gunicorn.workers.GeventWebSocketWorker"),
    "pywsgi": Plain("gevent_pywsgi"),
    "pywsgi-websockethandler": Plain("websocket_handler"),
}
"""The servers of gevent, whose sockets can be taken over: the deep tests run on each."""


def _gthread(*options: str) -> Gunicorn:
    # Its SIGQUIT handler takes a lock of the pool, which the very thread that it interrupts may hold.
    return Gunicorn("gthread", options=options, stop_signal=signal.SIGTERM)


_UWSGI = ("uwsgi", "--gevent", "8", "--wsgi", "support.apps:{app}()", "--master", "--need-app", "--die-on-term")

THREADED: dict[str, Gunicorn | Plain | Command] = {
    "gunicorn-gthread": _gthread("--threads", "8"),
    "gunicorn-gthread-patched": _gthread("--threads", "8", "-c", "python:support.gunicorn_patched"),
    "flask-run": Command(("-m", "flask", "--app", "support.apps:{app}", "run", "--port", "0")),
    "werkzeug-patched": Plain("werkzeug_patched"),
    "runserver": Command(("-m", "support.djangosite", "runserver", "0", "--noreload"), needs="django"),
    "wsgiref-threads": Plain("wsgiref_threads"),
    "cheroot": Plain("cheroot", needs="cheroot"),
    "uwsgi": Command((*_UWSGI, "--http-socket", "127.0.0.1:{port}")),
    "uwsgi-patched": Command((*_UWSGI, "--gevent-monkey-patch", "--http-socket", "127.0.0.1:{port}")),
    "uwsgi-http": Command((*_UWSGI, "--http", "127.0.0.1:{port}", "--http-websockets")),
}
"""The other servers whose sockets can be taken over, with and without monkey patching: threads, and uWSGI."""

UWSGI_SOCKET = Command((*_UWSGI, "--socket", "127.0.0.1:{port}"))
"""uWSGI that speaks its own protocol, to nginx."""

ALL = {**SERVERS, **THREADED}

WITH_WEBSOCKETS = ("gunicorn-geventwebsocket", "pywsgi-websockethandler")
"""Those that give the application WebSockets of its own."""

UNSUPPORTED: dict[str, Gunicorn | Plain | Command] = {
    "gunicorn-sync": Gunicorn("sync", stop_signal=signal.SIGTERM),  # SIGQUIT cuts off what it is answering
    "gunicorn-gthread-1": _gthread(),
    "uwsgi-plain": Command((*(_UWSGI[:1]), *_UWSGI[3:], "--http-socket", "127.0.0.1:{port}")),
    "uwsgi-http-alone": Command((*_UWSGI, "--http", "127.0.0.1:{port}")),
    "wsgiref": Plain("wsgiref"),
    "flask-run-1": Command(("-m", "flask", "--app", "support.apps:{app}", "run", "--port", "0", "--without-threads")),
    "runserver-1": Command(("-m", "support.djangosite", "runserver", "0", "--noreload", "--nothreading"), "django"),
    "cheroot-1": Plain("cheroot_single", needs="cheroot"),
    "waitress": Command(("-m", "waitress", "--listen=127.0.0.1:0", "--call", "support.apps:{app}"), "waitress"),
    "bjoern": Plain("bjoern", needs="bjoern"),
    "uvicorn": Command(
        ("-m", "uvicorn", "--factory", "--interface", "wsgi", "--ws", "none", "--port", "0", "support.apps:{app}"),
        "uvicorn",
        env={"PYTHONWARNINGS": "ignore"},
    ),
    "a2wsgi": Command(("-m", "uvicorn", "--factory", "--ws", "none", "--port", "0", "support.apps:asgi"), "a2wsgi"),
}
"""Servers that are refused with 501."""

SELF_REFUSING: dict[str, Command] = {
    "hypercorn": Command(("-m", "hypercorn", "--bind", "127.0.0.1:0", "wsgi:support.apps:{app}()"), "hypercorn"),
    "uvicorn-a2wsgi": Command(("-m", "uvicorn", "--factory", "--port", "0", "support.apps:asgi"), "a2wsgi"),
}
"""ASGI servers that have WebSockets of their own, of which a WSGI application never hears."""
