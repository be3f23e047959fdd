"""gevent's pywsgi with TLS or on a Unix socket.

``python -m support.listeners FACTORY HANDLER``: with TLS where ``TEST_CERTFILE`` and ``TEST_KEYFILE`` are set, and at
``TEST_UNIX`` besides. HANDLER is ``plain`` or ``websocket``.
"""

from __future__ import annotations

import os
import sys

from .serve import announce, application, close_sessions_on_sigterm


def main(factory: str, handler: str) -> None:
    from gevent import monkey

    monkey.patch_all()
    from gevent import socket
    from gevent.pywsgi import WSGIHandler, WSGIServer
    from geventwebsocket.handler import WebSocketHandler

    app = application(factory)
    handler_class = {"plain": WSGIHandler, "websocket": WebSocketHandler}[handler]
    tls = {}
    if "TEST_CERTFILE" in os.environ:
        tls = {"certfile": os.environ["TEST_CERTFILE"], "keyfile": os.environ["TEST_KEYFILE"]}
    if "TEST_UNIX" in os.environ:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.environ["TEST_UNIX"])
        listener.listen()
        WSGIServer(listener, app, handler_class=handler_class).start()
    server = WSGIServer(("127.0.0.1", 0), app, handler_class=handler_class, **tls)
    server.start()
    close_sessions_on_sigterm(server)
    announce(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
