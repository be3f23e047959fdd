"""Pyramid: ``gunicorn -k gevent pyramid_app``."""

import time

from pyramid.config import Configurator
from pyramid.response import Response

from rbkit_websocket import RbkitWebsocket


def user(request):
    time.sleep(0.3)  # a query
    return Response(f"user {request.matchdict['number']}")


with Configurator() as config:
    config.add_route("user", "/users/{number}")
    config.add_view(user, route_name="user")
    config.add_subscriber("rbkit_websocket.routes.pyramid_route", "pyramid.events.ContextFound")

application = RbkitWebsocket(config.make_wsgi_app())
