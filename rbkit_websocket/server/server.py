"""The embedded Rbkit server: a native thread that takes commands and publishes events.

It answers whatever the application's threads do, as long as they let go of the interpreter now and then. Its loop waits
in ``poll``, without a time-out when nothing is on, and is woken through a pipe. Its thread touches nothing that gevent
may have patched; see :mod:`.originals`.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from ..errors import NoRoom, ServerStartError
from ..profilers.base import Host, QuietCollector
from ..profilers.greenlets.blocked import LoopWatch
from ..protocol.commands.process import HandshakeAnswer
from ..system.clock import time
from ..system.headroom import require_descriptors, require_threads
from ..transport.curve import ServerKeys
from .channels import Channels, Sender
from .dispatch import Commands, failure
from .features import cpu, greenlets, heap, memory, process
from .originals import AppThread, make_host, tell
from .profiling import Profiling, StartOptions
from .publisher import Publisher
from .scheduler import Job, Scheduler

__all__ = ["Server"]

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
        curve: the keys of its TCP endpoints; None: they are open. The file system guards Unix sockets.
        server_id: its identity, see :func:`rbkit_websocket.fleet.records.new_id`.
        application: the application's name for people.
        linger: seconds that profilers started by a command go on without subscribers.
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
            greenlet of its hub) under gevent, else in the server's thread, in order. Their exceptions are logged.
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
        self.identity = process.Identity(server_id, application)
        self._fork, self._pausing, self._runtime_dir = snapshot_fork, snapshot_pause, runtime_dir
        self._snapshot_rate = snapshot_rate
        self.publish_callback: Callback | None = None
        self.respond_callback: Callback | None = None
        self.pid = os.getpid()
        self.app: AppThread
        self.host: Host
        self.profiling: Profiling
        self.heap: heap.Snapshots
        self.dumps: heap.Dumps
        self.publisher = Publisher(self._send)
        self.watch: LoopWatch | None = None
        self._blocked_log = blocked_log
        self._linger = linger
        self._signum = signum
        self._options = options
        self._curve = curve
        self._channels: Channels | None = None
        self._scheduler = Scheduler()
        self._commands: Commands
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
        self.profiling = Profiling(self.host, self.publisher, self.audience, self._linger, self._signum)
        self.watch = self._make_watch()
        self._register()
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
    def id(self) -> str:
        """Its identity, as in its record."""
        return self.identity.id

    def _register(self) -> None:
        """Makes the features: each gets only what it uses, and registers its commands."""
        host, profiling = self.host, self.profiling
        self.heap = heap.Snapshots(
            host, self._scheduler.add, fork=self._fork, pause=self._pausing, runtime_dir=self._runtime_dir
        )
        self.dumps = heap.Dumps(self.heap, self.publisher, self.audience, self._snapshot_rate)
        self._commands = Commands(lambda client, polls: profiling.cpu.sign_of(client, polls=polls))
        for handlers in (
            process.commands(host, self.app, self.identity, profiling.greenlets, lambda: self.status, self.wake),
            cpu.commands(profiling.cpu),
            memory.commands(profiling.memory),
            greenlets.commands(host, profiling.greenlets, self.watch, self.audience, profiling.watch_requests),
            heap.commands(self.heap, self.dumps),
        ):
            self._commands.register(handlers)

    def _make_watch(self) -> LoopWatch | None:
        app = self.app
        if app.loop is None:
            return None
        log = partial(app.log, logging.WARNING)
        held = self.profiling.cpu.profiler.held
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
            return  # called by a callback of ours: the loop ends after it
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
        """Takes another identity, and drops the Unix socket, which cannot be reached any more."""
        self.identity.id = server_id
        self.path = None

    def keep(self, job: Job) -> None:
        """Runs a job in its thread until the server ends."""
        self._requests.append(lambda: self._scheduler.add(job))
        self.wake()

    @property
    def running(self) -> bool:
        """Whether its thread runs in this process."""
        return self._done is not None and not self._stopping and self.pid == os.getpid()

    @property
    def status(self) -> HandshakeAnswer:
        """The payload of the ``handshake`` answer."""
        return process.handshake(self.identity, self.profiling.cpu, self.profiling.memory, self._linger, self._fork)

    def process_incoming_request(self, command: str | bytes) -> None:
        """Feeds one command without a socket; its answer goes to ``respond_callback``, soon."""
        text = command.decode("utf-8", "replace") if isinstance(command, bytes) else command
        self._requests.append(lambda: self._command(text, None))
        self.wake()

    def wake(self) -> None:
        """Lets the loop go round; from any thread."""
        if self._channels is not None:
            self._channels.wake()

    def after_in_child(self) -> None:
        """Drops the parent's state in a forked child, without touching ZeroMQ and without waiting."""
        self._done = None
        self._stopping = True
        QuietCollector.after_in_child()
        self.profiling.after_in_child()
        self.heap.after_in_child()
        if self._channels is not None:
            self._channels.after_in_child(self.host.allocate_lock)

    # -- the thread's side: everything below runs there

    def audience(self) -> bool:
        """Whether there is a subscriber or a callback."""
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
                except Exception:  # noqa: BLE001 - the thread survives every failure
                    self._log_exception("a turn of the server failed")
                    if not self._stopping:
                        self._pause()  # a failure in each turn must not burn a processor
        finally:
            self._end(channels)

    def _end(self, channels: Channels) -> None:
        """Ends profilers and jobs before sockets, since they publish; the pipe last, since they may wake us."""
        self._stopping = True
        for ending in (self.profiling.stop, self._scheduler.close, channels.close, channels.close_pipe):
            try:
                ending()
            except Exception:  # noqa: BLE001 - the others have to end too
                self._log_exception("the server did not end cleanly")
        self._done.release()

    def _pause(self) -> None:
        lock = self.host.allocate_lock()
        lock.acquire()
        lock.acquire(True, 0.1)

    def _time_out(self) -> float | None:
        """Seconds to wait for sockets, None for as long as it takes."""
        if self._requests:
            return 0
        dues = (
            self._scheduler.deadline(),
            self.publisher.deadline,
            self.profiling.deadline(),
            self.app.deadline,
            self.watch.deadline(self.audience()) if self.watch is not None else None,
        )
        first = min((due for due in dues if due is not None), default=None)
        return None if first is None else first - time.monotonic()

    def _turn(self, channels: Channels) -> None:
        self.profiling.cpu.profiler.catch_up()
        if channels.subscriptions():
            self.profiling.lingering.sign_of_life()
        for client in channels.left():
            self.profiling.cpu.goodbye(client)
        for command, sender in channels.commands():
            self._command(command, sender)
        while self._requests:
            self._requests.popleft()()
        now = time.monotonic()
        if self.watch is not None:
            self.watch.tick(now, self.audience())
        self.profiling.tick(now)
        if (failure := self.profiling.cpu.check()) is not None:
            self._log_exception("the CPU sampler failed", failure)
        if self.audience():
            self.publisher.flush(now)
        else:
            self.publisher.drop()
        self.app.rescue(now)
        self._scheduler.work(now)

    def _warn(self, line: str) -> None:
        self.app.log(logging.WARNING, f"rbkit: {line}")

    def _command(self, command: str, sender: Sender | None) -> None:
        def answered(answer: bytes) -> None:
            if sender is not None:
                sender.answer(answer)
            self._callback(self.respond_callback, answer)

        def failed(error: Exception) -> None:
            self._log_exception(f"the command {command[:80]!r} failed", error)
            answered(failure(error))

        try:
            answer = self._commands.answer(command, sender.client if sender is not None else "")
        except Exception as error:  # noqa: BLE001 - the client is told
            failed(error)
            return
        if isinstance(answer, bytes):
            answered(answer)
        else:
            self._scheduler.add(answer, answered, failed)

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
