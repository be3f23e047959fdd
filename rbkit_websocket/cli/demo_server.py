"""The process that serves the demo's application: ``demo_process`` starts it with ``--port N``.

It reads one JSON line from standard input (``{"token": ..., "name": ...}``), answers one on standard output
(``{"port": N}``, or ``{"error": text}``), and serves until SIGTERM or the end of standard input: a demo that was killed
leaves no server behind.
"""

# ruff: noqa: E402 - modules imported before the patch keep the blocking originals
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import errno
import json
import linecache
import os
import signal
import sys
from importlib.abc import InspectLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import gevent
import gevent.event
import gevent.os
from gevent import pywsgi

from .. import RbkitWebsocket, close_sessions, ensure_started, stop_server

_FILE = "rbkit_demo/app.py"


def _application() -> Any:
    """The demo's application, as code of its own: in a profile it is no part of this package."""
    spec = find_spec("rbkit_websocket.cli.demo_app")
    source = spec.loader.get_source(spec.name) if spec is not None and isinstance(spec.loader, InspectLoader) else None
    assert source is not None
    module = sys.modules["rbkit_demo.app"] = ModuleType("rbkit_demo.app", __doc__)
    exec(compile(source, _FILE, "exec"), module.__dict__)  # noqa: S102 - our own file
    linecache.cache[_FILE] = len(source), None, source.splitlines(keepends=True), _FILE  # for tracebacks
    return module.create_app()


def main() -> int:
    """Serves, and returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    wishes = json.loads(sys.stdin.readline())

    app = RbkitWebsocket(_application(), name=wishes["name"], token=wishes["token"])
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, log=None)
    try:
        server.start()
    except OSError as error:
        _report(error=_why(error, port))
        return 1
    finished = gevent.event.Event()
    gevent.signal_handler(signal.SIGTERM, finished.set)
    watch = gevent.spawn(_wait_for_end_of_input, finished)
    ensure_started()
    _report(port=server.server_port)
    finished.wait()
    # First the sessions, with their close code; then the listener and requests; then the Rbkit server has no clients.
    close_sessions()
    server.stop(timeout=0.5)
    stop_server()
    watch.kill()
    return 0


def _report(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _why(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of 127.0.0.1 is taken: choose another with --port, or leave --port out for a free one"
    return f"cannot listen on port {port} of 127.0.0.1: {os.strerror(error.errno or 0)}"


def _wait_for_end_of_input(finished: gevent.event.Event) -> None:
    gevent.os.make_nonblocking(0)
    while gevent.os.nb_read(0, 4096):
        pass
    finished.set()
