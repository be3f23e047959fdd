"""Tells the profiler the route of each request, so that ``/users/42`` is called ``/users/<id>``: one line of setup.

Flask::

    app.before_request(rbkit_websocket.routes.flask_route)

Django, in the settings::

    MIDDLEWARE = ["rbkit_websocket.routes.DjangoRoute", ...]

Pyramid::

    config.add_subscriber("rbkit_websocket.routes.pyramid_route", "pyramid.events.ContextFound")

Bottle::

    app.install(rbkit_websocket.routes.bottle_route)

Falcon::

    app = falcon.App(middleware=[rbkit_websocket.routes.FalconRoute()])

All set ``environ["rbkit.route"]``, which an application under any other framework may set itself. Without it the
profiler takes the path, with numbers and the like folded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .profilers.requests.request_names import ROUTE, fold

__all__ = ["DjangoRoute", "FalconRoute", "bottle_route", "flask_route", "pyramid_route"]


def _tell(environ: dict[str, Any], route: str) -> None:
    """Sets the route below its mount: two applications of one process may have the same route."""
    environ[ROUTE] = (fold(mount) if (mount := environ.get("SCRIPT_NAME")) else "") + route


def flask_route() -> None:
    """A function for ``app.before_request``: sets the rule of the request, if one matched."""
    from flask import request

    if request.url_rule is not None:
        _tell(request.environ, request.url_rule.rule)


class DjangoRoute:
    """A Django middleware: the route of the view that is about to be called."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self._get_response(request)

    def process_view(self, request: Any, *_view: Any) -> None:
        """Called by Django when the route is known. ``META`` is the environ itself."""
        route = request.resolver_match.route
        _tell(request.META, route if route.startswith(("/", "^")) else f"/{route}")


def pyramid_route(event: Any) -> None:
    """A subscriber of Pyramid's ``ContextFound``: the pattern of the route, if one matched (traversal has none)."""
    route = getattr(event.request, "matched_route", None)
    if route is not None:
        pattern = route.pattern
        _tell(event.request.environ, pattern if pattern.startswith("/") else f"/{pattern}")


def bottle_route(callback: Callable[..., Any]) -> Callable[..., Any]:
    """A Bottle plugin: the rule of the route whose callback is about to be called."""
    from bottle import request

    @functools.wraps(callback)
    def tell_and_call(*args: Any, **kwargs: Any) -> Any:
        _tell(request.environ, request.route.rule)
        return callback(*args, **kwargs)

    return tell_and_call


class FalconRoute:
    """A Falcon middleware: the URI template of the resource that is about to be called."""

    def process_resource(self, request: Any, _response: Any, _resource: Any, _params: Any) -> None:
        """Called by Falcon when the route is known."""
        if request.uri_template is not None:
            _tell(request.env, request.uri_template)
