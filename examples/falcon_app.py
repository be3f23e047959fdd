"""Falcon: ``gunicorn -k gevent falcon_app``."""

import time

import falcon

import rbkit_websocket.routes
from rbkit_websocket import RbkitWebsocket


class User:
    def on_get(self, request, response, number):
        time.sleep(0.3)  # a query
        response.text = f"user {number}"


app = falcon.App(middleware=[rbkit_websocket.routes.FalconRoute()])
app.add_route("/users/{number:int}", User())

application = RbkitWebsocket(app)
