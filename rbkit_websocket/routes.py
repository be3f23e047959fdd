"""Tells the profiler the route of each request, so that ``/users/42`` is called ``/users/<id>``: one line of setup.

Flask::

    app.before_request(rbkit_websocket.routes.flask_route)

Django, in the settings::

    MIDDLEWARE = [..., "rbkit_websocket.routes.DjangoRoute"]

Both set ``environ["rbkit.route"]``, which any other framework may do itself. Without it the path is used, with numbers
and the like folded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .profilers.names import ROUTE

__all__ = ["DjangoRoute", "flask_route"]


def flask_route() -> None:
    """For ``app.before_request``: the rule of the request, if one matched."""
    from flask import request

    if request.url_rule is not None:
        request.environ[ROUTE] = request.url_rule.rule


class DjangoRoute:
    """A Django middleware: the route of the view that is about to be called."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self._get_response(request)

    def process_view(self, request: Any, *_view: Any) -> None:
        """Called by Django when the route is known. ``META`` is the environ itself."""
        route = request.resolver_match.route
        request.META[ROUTE] = route if route.startswith(("/", "^")) else f"/{route}"
