"""The embedded Rbkit server: a native thread that takes commands and publishes events.

It answers whatever the application's threads do, as long as they let go of the interpreter now and then. Its loop waits
in ``poll``, without a time-out when nothing is on, and is woken through a pipe. Nothing in that thread touches what
gevent may have patched; see :mod:`.originals`.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, Final

from .. import __version__
from ..errors import NoRoom, ServerStartError
from ..profilers.base import Host, QuietCollector
from ..profilers.greenlets.blocked import LoopWatch
from ..protocol.codec import pack
from ..system.clock import time
from ..system.headroom import require_descriptors, require_threads
from ..system.started import title
from ..transport.curve import ServerKeys
from . import commands
from .channels import Channels, Sender
from .originals import AppThread, make_host, tell
from .profiling import Profiling, StartOptions
from .publisher import Publisher
from .snapshots import Snapshots

__all__ = ["Server"]

_SLICE: Final = 0.01
_STOP_WITHIN: Final = 5.0
# Its pipe, its Unix socket and a spare.
_DESCRIPTORS: Final = 4

Callback = Callable[[bytes], object]


class Server:
    """One embedded server.

    Args:
        pub: ZeroMQ endpoints to publish on; empty for none (callbacks only).
        req: ZeroMQ endpoints to take commands on; empty for none.
        path: of a Unix socket to do both on, without libzmq, in a directory of the user's own; None for none.
        curve: the keys of its TCP endpoints; None: they are open. What is a file is guarded by the file system.
        server_id: its identity, see :func:`rbkit_websocket.fleet.records.new_id`.
        application: what people call the application.
        linger: seconds that profilers which a command started go on without subscribers.
        snapshot_rate: bytes a second of a heap snapshot.
        signum: the signal of the native sampler; None: its default, 0: none.
        snapshot_fork, snapshot_pause: whether a snapshot may be made by a forked child, and whether the process may
            stand still for one where that cannot be.
        runtime_dir: a directory of our own, where a snapshot's file may be if there is no other place for it.
        options: profilers that are on from the start and stay on.
        blocked_log: seconds from which on a blocked event loop is logged; 0: never.

    Attributes:
        publish_callback: gets each published message as bytes, or None.
        respond_callback: gets each answer as bytes, or None. Both are called in the application's own thread (a
            greenlet of its hub) under gevent, else in the server's thread, in order. What they raise is logged.
    """

    def __init__(
        self,
        pub: Sequence[str] = (),
        req: Sequence[str] = (),
        *,
        path: str | None = None,
        curve: ServerKeys | None = None,
        server_id: str = "",
        application: str = "",
        linger: float = 10.0,
        snapshot_rate: int = 20_000_000,
        signum: int | None = None,
        snapshot_fork: bool = True,
        snapshot_pause: bool = True,
        runtime_dir: str | None = None,
        options: StartOptions | None = None,
        blocked_log: float = 0.0,
    ) -> None:
        self.pub_endpoints = list(pub)
        self.req_endpoints = list(req)
        self.path = path
        self.id = server_id
        self._applications = (application,) if application else ()
        self.version = __version__
        self.working_directory = _working_directory()
        self.started = time.time()
        self.snapshot_rate = snapshot_rate
        self.snapshots = 0
        self.snapshots_running = 0
        self.heap = Snapshots(self, fork=snapshot_fork, pause=snapshot_pause, runtime_dir=runtime_dir)
        self.publish_callback: Callback | None = None
        self.respond_callback: Callback | None = None
        self.pid = os.getpid()
        self.app: AppThread
        self.host: Host
        self.profiling: Profiling
        self.publisher = Publisher(self._send)
        self.watch: LoopWatch | None = None
        self._blocked_log = blocked_log
        self.linger = linger
        self._signum = signum
        self._options = options
        self._curve = curve
        self._channels: Channels | None = None
        self._jobs: deque[_Pending] = deque()
        self._requests: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._ident: int | None = None
        self._done: Any = None

    # -- the application's side

    def start(self) -> None:
        """Binds and starts the thread.

        Raises:
            ServerStartError: an endpoint cannot be bound, or the process has too few descriptors or threads left.
        """
        try:
            # First of all: an event loop that cannot get a descriptor for its watchers ends the process, or hangs.
            require_descriptors(_DESCRIPTORS)
            require_threads(1)
        except NoRoom as error:
            raise ServerStartError(f"the embedded Rbkit server cannot start: {error}") from error
        self.app = AppThread()
        self.host = make_host(self.app)
        self.profiling = Profiling(self.host, self.publisher, self.audience, self.linger, self._signum)
        self.watch = self._make_watch()
        channels = None
        try:
            channels = self._channels = Channels(self.host.allocate_lock, self._curve, self._warn)
            if self.path is not None:
                channels.listen(self.path)
            channels.bind(self.pub_endpoints, self.req_endpoints)
            self._done = self.host.allocate_lock()
            self._done.acquire()
            self.host.start_new_thread(self._main, (channels,))
            self.profiling.greenlets.install()
        except (NoRoom, RuntimeError, OSError) as error:
            self._done = None
            if channels is not None:
                channels.close()
                channels.close_pipe()
            self.app.close()
            raise ServerStartError(f"the embedded Rbkit server cannot start: {error}") from error

    @property
    def application(self) -> str:
        """What this process serves, for people: ``shop``, ``shop, blog`` where it is more than one application."""
        return ", ".join(self._applications) or title()

    def serve_for(self, application: str) -> None:
        """One more application of this process is watched through this server."""
        if application not in self._applications:
            self._applications = (*self._applications, application)

    def _make_watch(self) -> LoopWatch | None:
        app = self.app
        if app.loop is None:
            return None
        log = partial(app.log, logging.WARNING)
        held = self.profiling.cpu.held
        return LoopWatch(self.host, self.profiling.greenlets, app.loop, self._blocked_log, tell, log, app.call, held)

    def stop(self) -> None:
        """Ends thread, profilers and sockets; returns when they have ended. Does nothing when it does not run."""
        done = self._done
        if done is None or self.pid != os.getpid():
            return
        self._stopping = True
        self.profiling.greenlets.remove()
        self.wake()
        if self.host.get_ident() == self._ident:
            return  # a callback of ours stops us: the loop ends after it
        if done.acquire(True, _STOP_WITHIN):
            self._done = None
        self.app.close()

    def listen(self, path: str) -> None:
        """Listens at another Unix socket while it runs.

        Raises:
            ServerStartError: it cannot be bound, or the server does not answer within 5 s.
        """
        failures: list[str] = []
        bound = self.host.allocate_lock()
        bound.acquire()

        def request() -> None:
            try:
                self._channel().listen(path)
            except OSError as error:
                failures.append(str(error))
            finally:
                bound.release()

        # Sockets belong to the server's thread. The lock is an original one: no greenlet runs while we wait for it.
        if self.host.get_ident() == self._ident:
            request()
        else:
            self._requests.append(request)
            self.wake()
        if not bound.acquire(True, _STOP_WITHIN):
            failures.append("its thread does not answer")
        if failures:
            raise ServerStartError(f"the embedded Rbkit server cannot listen at {path}: {failures[0]}")
        self.path = path

    def forget_path(self, server_id: str) -> None:
        """Another identity, and no Unix socket: the one there was cannot be reached any more."""
        self.id = server_id
        self.path = None

    def keep(self, job: Generator[float | None, None, None]) -> None:
        """Has its thread do a job until the server ends, see :meth:`background`."""
        self._requests.append(lambda: self.background(job))
        self.wake()

    @property
    def running(self) -> bool:
        """Whether this process has its thread."""
        return self._done is not None and not self._stopping and self.pid == os.getpid()

    @property
    def status(self) -> dict[str, Any]:
        """The payload of the ``handshake`` answer."""
        return commands.handshake_payload(self)

    def process_incoming_request(self, command: str | bytes) -> None:
        """Feeds one command without a socket; its answer goes to ``respond_callback``, soon."""
        text = command.decode("utf-8", "replace") if isinstance(command, bytes) else command
        self._requests.append(lambda: self._command(text, None))
        self.wake()

    def wake(self) -> None:
        """Has the loop go round; from any thread."""
        if self._channels is not None:
            self._channels.wake()

    def after_in_child(self) -> None:
        """After a fork, in the child: drops what is the parent's. Nothing of ZeroMQ is touched, nothing waited for."""
        self._done = None
        self._stopping = True
        QuietCollector.after_in_child()
        self.profiling.after_in_child()
        self.heap.after_in_child()
        if self._channels is not None:
            self._channels.after_in_child(self.host.allocate_lock)

    # -- the thread's side: everything below runs there

    def background(self, job: Generator[float | None, None, None]) -> None:
        """Takes a job whose end nobody waits for; it is closed when the server ends."""
        pending = _Pending("", None)
        pending.job = job
        self._jobs.append(pending)

    def audience(self) -> bool:
        """Whether anybody takes what is published."""
        return (self._channels is not None and self._channels.audience) or self.publish_callback is not None

    def _main(self, channels: Channels) -> None:
        self._ident = self.host.get_ident()
        self.host.own.add(self._ident)
        if self._options is not None:
            options = self._options
            self._requests.append(lambda: self.profiling.start(options))
        try:
            while not self._stopping:
                try:
                    channels.wait(self._time_out())
                    with self.host.quiet():
                        self._turn(channels)
                except Exception:  # noqa: BLE001 - the thread survives whatever fails in it
                    self._log_exception("a turn of the server failed")
                    if not self._stopping:
                        self._pause()  # should it fail each time, it shall not burn a processor
        finally:
            self._end(channels)

    def _end(self, channels: Channels) -> None:
        """Profilers and jobs before sockets, since they publish; the pipe last, since they may wake us."""
        self._stopping = True
        for ending in (self.profiling.stop, self._end_jobs, channels.close, channels.close_pipe):
            try:
                ending()
            except Exception:  # noqa: BLE001 - the others have to end too
                self._log_exception("the server did not end cleanly")
        self._done.release()

    def _end_jobs(self) -> None:
        while self._jobs:
            self._jobs.popleft().job.close()

    def _pause(self) -> None:
        lock = self.host.allocate_lock()
        lock.acquire()
        lock.acquire(True, 0.1)

    def _time_out(self) -> float | None:
        """Seconds to wait for sockets, None for as long as it takes."""
        times = [pending.due for pending in self._jobs]
        dues: tuple[float | None, ...] = (self.publisher.deadline, self.profiling.deadline(), self.app.deadline)
        if self.watch is not None:
            dues = (*dues, self.watch.deadline(self.audience()))
        times += [due for due in dues if due is not None]
        if self._requests:
            return 0
        if not times:
            return None
        return min(times) - time.monotonic()

    def _turn(self, channels: Channels) -> None:
        self.profiling.cpu.catch_up()
        if channels.subscriptions():
            self.profiling.sign_of_life()
        for client in channels.left():
            self.profiling.goodbye(client)
        for command, sender in channels.commands():
            self._command(command, sender)
        while self._requests:
            self._requests.popleft()()
        now = time.monotonic()
        if self.watch is not None:
            self.watch.tick(now, self.audience())
        self.profiling.tick(now)
        if (failure := self.profiling.check()) is not None:
            self._log_exception("the CPU sampler failed", failure)
        if self.audience():
            self.publisher.flush(now)
        else:
            self.publisher.drop()
        self.app.rescue(now)
        self._work(now)

    def _warn(self, line: str) -> None:
        self.app.log(logging.WARNING, f"rbkit: {line}")

    def _command(self, command: str, sender: Sender | None) -> None:
        pending = _Pending(command, sender)
        try:
            answer = commands.dispatch(self, command, sender.client if sender is not None else "")
        except Exception as error:  # noqa: BLE001 - the client is told
            answer = self._failed(pending, error)
        if isinstance(answer, bytes):
            self._answer(pending, answer)
        else:
            pending.job = answer
            self._jobs.append(pending)

    def _work(self, now: float) -> None:
        """Gives the jobs that are due a slice of the time, one after the other."""
        for _ in range(len(self._jobs)):
            pending = self._jobs.popleft()
            if pending.due > now:
                self._jobs.append(pending)
                continue
            until = time.monotonic() + _SLICE
            try:
                wait: float | None = None
                while wait is None and time.monotonic() < until:
                    wait = next(pending.job)
                pending.due = time.monotonic() + (wait or 0.0)
                self._jobs.append(pending)
            except StopIteration as end:
                self._answer(pending, end.value)
            except Exception as error:  # noqa: BLE001 - the client is told
                self._answer(pending, self._failed(pending, error))

    def _failed(self, pending: _Pending, error: Exception) -> bytes:
        self._log_exception(f"the command {pending.command[:80]!r} failed", error)
        return pack({"error": "failed", "message": f"{type(error).__name__}: {error}"})

    def _answer(self, pending: _Pending, answer: bytes | None) -> None:
        if answer is None:
            return  # a background job has ended
        if pending.sender is not None:
            pending.sender.answer(answer)
        self._callback(self.respond_callback, answer)

    def _send(self, message: bytes) -> None:
        self._channel().publish(message)
        self._callback(self.publish_callback, message)

    def _callback(self, callback: Callback | None, message: bytes) -> None:
        if callback is None or self.app.call(lambda: callback(message)):
            return
        try:
            callback(message)
        except Exception as error:  # noqa: BLE001 - the application's code
            self._log_exception("a callback failed", error)

    def _log_exception(self, what: str, error: BaseException | None = None) -> None:
        lines = traceback.format_exception(error or sys.exc_info()[1])
        self.app.log(logging.ERROR, f"rbkit: {what}\n{''.join(lines).rstrip()}")

    def _channel(self) -> Channels:
        assert self._channels is not None, "the server has not been started"
        return self._channels


class _Pending:
    """A command whose answer is on its way."""

    __slots__ = ("command", "due", "job", "sender")

    def __init__(self, command: str, sender: Sender | None) -> None:
        self.command = command
        self.sender = sender
        self.job: Generator[float | None, None, bytes | None]
        self.due = 0.0


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return ""
