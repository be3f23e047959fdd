"""``rbkit-websocket demo``: a real application under load, and what a profile of it looks like."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from urllib.parse import quote

import click

from .demo_process import DemoProcess

__all__ = ["command"]


@click.command("demo")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="TCP port of 127.0.0.1; default: a free one.")
@click.option("--seconds", type=click.FloatRange(min=0), default=None, help="End by itself after so long.")
@click.option("--no-load", is_flag=True, help="Start no load: the application is yours to ask.")
def command(port: int, seconds: float | None, no_load: bool) -> None:
    """Profile a small Flask application live, in this terminal.

    The application runs in a process of its own under gevent, wrapped in RbkitWebsocket. This process asks for its
    pages and shows what comes through the WebSocket: once a second, in place on a terminal and as lines of key=value
    pairs elsewhere. Ctrl-C ends both.
    """
    token = secrets.token_urlsafe(18)
    with _ends_in_good_order(), ExitStack() as stack:
        server = stack.enter_context(DemoProcess(port, f"rbkit-demo-{os.getpid()}", token))
        url = f"ws://127.0.0.1:{server.port}/?token={quote(token)}"
        click.echo(f"application http://127.0.0.1:{server.port}/")
        click.echo(f"websocket   {url}  (subprotocol rbkit)")
        _watch(stack, server, url, seconds, load=not no_load)


def _watch(stack: ExitStack, server: DemoProcess, url: str, seconds: float | None, *, load: bool) -> None:
    # Here, not above: whoever only lists the commands, or serves, does not load the client's network modules.
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
    began = due = time.monotonic()
    while seconds is None or due - began < seconds:
        due = min(due + 1.0, began + seconds) if seconds is not None else due + 1.0
        monitor.listen(due - time.monotonic())
        server.check()
        output.show(monitor.poll(counter.per_second()))


@contextmanager
def _ends_in_good_order() -> Iterator[None]:
    """Ctrl-C and SIGTERM are how a demo ends: the process that it started goes, the terminal is as it was, code 0."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
