"""Compositions of middlewares around one small Flask application."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from rbkit_websocket import RbkitWebsocket
from rbkit_websocket.routes import flask_route


def behind_proxy() -> Any:
    """Flask that believes one proxy what it says of the client, as the documentation shows it."""
    from werkzeug.middleware.proxy_fix import ProxyFix

    from support import apps

    app = apps.flask()
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_prefix=1)
    return app


def small() -> Any:
    """A Flask application, not wrapped."""
    from flask import Flask

    app = Flask("rbkit_test_small")
    app.before_request(flask_route)

    @app.get("/users/<int:number>")
    def user(number: int) -> str:
        time.sleep(0.3)
        return f"user {number}"

    return app


def compositions() -> Any:
    """Each order of middlewares below a mount of its own, and nothing of ours around them."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware
    from werkzeug.middleware.proxy_fix import ProxyFix
    from whitenoise import WhiteNoise

    directory = Path(os.environ["TEST_STATIC"])

    def static(app: Any) -> Any:
        return WhiteNoise(app, root=directory, prefix="static/")

    return DispatcherMiddleware(
        small(),
        {
            "/outermost": RbkitWebsocket(ProxyFix(static(small()), x_for=1)),
            "/innermost": ProxyFix(static(RbkitWebsocket(small())), x_for=1),
            "/between": static(RbkitWebsocket(ProxyFix(small(), x_for=1))),
            "/around": RbkitWebsocket(DispatcherMiddleware(static(small()), {"/mounted": static(small())})),
        },
    )
