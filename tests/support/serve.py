"""Serves an application of :mod:`support.apps` with a web server that has no command line of its own.

``python -m support.serve SERVER FACTORY``: prints ``Listening at: http://127.0.0.1:PORT`` and serves until SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


def gevent_pywsgi(factory: str, handler: str | None = None) -> None:
    from gevent import monkey

    monkey.patch_all()
    from gevent.pywsgi import WSGIServer

    options: dict[str, Any] = {}
    if handler:
        from geventwebsocket.handler import WebSocketHandler

        options["handler_class"] = WebSocketHandler
    server = WSGIServer(("127.0.0.1", 0), application(factory), **options)
    server.start()
    if os.environ.get("TEST_CLOSE_SESSIONS"):
        close_sessions_on_sigterm(server)
    announce(server.server_port)
    server.serve_forever()


def close_sessions_on_sigterm(server: Any) -> None:
    """What the documentation recommends for a server that otherwise drops its connections."""
    import gevent

    from rbkit_websocket import close_sessions

    def stop() -> None:
        close_sessions()
        server.stop()

    gevent.signal_handler(signal.SIGTERM, stop)


def websocket_handler(factory: str) -> None:
    gevent_pywsgi(factory, "WebSocketHandler")


def wsgiref(factory: str, *, threads: bool = False, daemons: bool = True) -> None:
    import socketserver
    from wsgiref.simple_server import WSGIServer, make_server

    class Threaded(socketserver.ThreadingMixIn, WSGIServer):
        daemon_threads = daemons

    with make_server("127.0.0.1", 0, application(factory), Threaded if threads else WSGIServer) as server:
        announce(server.server_port)
        exit_on_sigterm()
        server.serve_forever()


def wsgiref_threads(factory: str) -> None:
    wsgiref(factory, threads=True)


def wsgiref_waiting_threads(factory: str) -> None:
    wsgiref(factory, threads=True, daemons=False)


def werkzeug_patched(factory: str) -> None:
    from gevent import monkey

    monkey.patch_all()
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, application(factory), threaded=True)
    announce(server.server_port)
    server.serve_forever()


def cheroot(factory: str, threads: int = 8) -> None:
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", 0), application(factory), numthreads=threads)
    server.prepare()
    announce(server.bind_addr[1])
    exit_on_sigterm()
    try:
        server.serve()
    finally:
        server.stop()


def cheroot_single(factory: str) -> None:
    cheroot(factory, 1)


def bjoern(factory: str) -> None:
    import bjoern as server

    server.listen(application(factory), "127.0.0.1", 0)
    announce(server._default_instance[0].getsockname()[1])
    server.run()


def exit_on_sigterm() -> None:
    """What the documentation recommends for servers that have threads and die at once, and the explicit way."""
    how = os.environ.get("TEST_CLOSE_SESSIONS")

    def stop(*_: object) -> None:
        if how == "close":
            from rbkit_websocket import close_sessions

            close_sessions()
            os._exit(0)
        sys.exit(0)

    if how:
        signal.signal(signal.SIGTERM, stop)


def application(factory: str) -> Any:
    from support import apps

    return getattr(apps, factory)()


def announce(port: int) -> None:
    print(f"Listening at: http://127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
