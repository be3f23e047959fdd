"""Applications as people build them: one factory a framework, and compositions of several middlewares."""

from __future__ import annotations

from typing import Any


def behind_proxy() -> Any:
    """Flask that believes one proxy what it says of the client, as the documentation shows it."""
    from werkzeug.middleware.proxy_fix import ProxyFix

    from support import apps

    app = apps.flask()
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_prefix=1)
    return app
