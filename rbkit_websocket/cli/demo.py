"""``rbkit-websocket demo``: a real application under load, and its profile."""

from __future__ import annotations

import math
import os
import secrets
import signal
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Final
from urllib.parse import quote

import click

from ..errors import ConnectionClosed
from ..system.clock import time
from .demo_process import DemoProcess, DemoStopped

__all__ = ["command"]

LOOK: Final = 0.1
"""Seconds after which Ctrl-C is noticed at the latest."""


@click.command("demo")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="TCP port of 127.0.0.1; default: a free one.")
@click.option("--seconds", type=click.FloatRange(min=0), default=None, help="End after this time.")
@click.option("--no-load", is_flag=True, help="Start no load: send requests to the application yourself.")
def command(port: int, seconds: float | None, no_load: bool) -> None:
    """Profile a small Flask application live, in this terminal.

    The application runs in a process of its own under gevent, wrapped in RbkitWebsocket. This process requests its
    pages and shows the profile from the WebSocket: once a second, in place on a terminal and as lines of key=value
    pairs elsewhere. Ctrl-C ends both.
    """
    token = secrets.token_urlsafe(18)
    with _Stop() as stop, ExitStack() as stack:
        server = DemoProcess(port, f"rbkit-demo-{os.getpid()}", token, lambda: stop.asked)
        try:
            stack.enter_context(server)
        except DemoStopped:
            return
        url = f"ws://127.0.0.1:{server.port}/?token={quote(token, safe='')}"
        click.echo(f"application http://127.0.0.1:{server.port}/")
        from ..http.dashboard import bundle  # late: other subcommands do not need its modules

        missing = "" if bundle.names() else "  (not in this installation: open it to see how to get it)"
        click.echo(f"dashboard   http://127.0.0.1:{server.port}/__rbkit__/#token={quote(token, safe='')}{missing}")
        click.echo(f"websocket   {url}  (subprotocol rbkit)")
        try:
            _watch(stack, server, url, seconds, stop, load=not no_load)
        except ConnectionClosed:
            server.check()
            raise


def _watch(stack: ExitStack, server: DemoProcess, url: str, seconds: float | None, stop: _Stop, *, load: bool) -> None:
    # Late: a list of the commands, or a server, does not need the client's network modules.
    from ..client import connect
    from .demo_load import Load, RequestCounter
    from .monitor import Monitor
    from .terminal import Output

    client = stack.enter_context(connect(url))
    monitor = Monitor(client, f"rbkit demo, pid {server.pid}", url)
    monitor.start()
    if load:
        stack.enter_context(Load(server.port))
    output = stack.enter_context(Output())
    counter = RequestCounter(server.port)
    stack.callback(counter.close)
    due = time.monotonic()
    end = math.inf if seconds is None else due + seconds
    while due < end:
        # After a missed second the next one begins now: missed ones are skipped.
        due = min(max(due + 1.0, time.monotonic()), end)
        while (left := due - time.monotonic()) > 0:
            monitor.listen(min(left, LOOK))
            if stop.asked:
                return
        output.show(monitor.poll(counter.per_second()))


class _Stop:
    """A context manager: inside, Ctrl-C and SIGTERM only set :attr:`asked`; a second one interrupts.

    An exception out of a signal handler can come anywhere, and leave a library's lock locked for good.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _Stop:
        self._before = [(number, signal.signal(number, self._ask)) for number in (signal.SIGINT, signal.SIGTERM)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
