"""gunicorn -k gevent_pywsgi: gevent's pywsgi inside a gunicorn worker.

The worker adds ``gunicorn.sock`` to the environ (gunicorn/workers/ggevent.py); reading goes through pywsgi's file all
the same, since that file has read ahead.
"""

from __future__ import annotations

from typing import Any

from .pywsgi import Pywsgi

__all__ = ["GunicornPywsgi"]


class GunicornPywsgi(Pywsgi):
    """A :class:`~.pywsgi.Pywsgi` for gunicorn's subclass of the server."""

    name = "gunicorn -k gevent_pywsgi"

    @classmethod
    def claim(cls, environ: dict[str, Any]) -> Pywsgi | None:
        takeover = super().claim(environ) if "gunicorn.sock" in environ else None
        # A middleware in between may have changed either; both have to agree on the connection.
        return takeover if takeover is not None and takeover.sock is environ["gunicorn.sock"] else None
