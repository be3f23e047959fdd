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


def wsgiref(factory: str) -> None:
    from wsgiref.simple_server import make_server

    with make_server("127.0.0.1", 0, application(factory)) as server:
        announce(server.server_port)
        server.serve_forever()


def werkzeug(factory: str) -> None:
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, application(factory), threaded=True)
    announce(server.server_port)
    server.serve_forever()


def application(factory: str) -> Any:
    from support import apps

    return getattr(apps, factory)()


def announce(port: int) -> None:
    print(f"Listening at: http://127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
