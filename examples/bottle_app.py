"""Bottle: ``gunicorn -k gevent bottle_app``."""

import time

from bottle import Bottle

import rbkit_websocket.routes
from rbkit_websocket import RbkitWebsocket

app = Bottle()
app.install(rbkit_websocket.routes.bottle_route)


@app.get("/users/<number:int>")
def user(number):
    time.sleep(0.3)  # a query
    return f"user {number}"


application = RbkitWebsocket(app)
