"""Flask with a factory and a blueprint: ``gunicorn -k gevent 'flask_app:create_app()'``."""

import time

from flask import Blueprint, Flask

import rbkit_websocket.routes
from rbkit_websocket import RbkitWebsocket

users = Blueprint("users", __name__, url_prefix="/users")


@users.get("/<int:number>")
def user(number):
    time.sleep(0.3)  # a query
    return f"user {number}"


def create_app():
    app = Flask(__name__)
    app.register_blueprint(users)
    app.before_request(rbkit_websocket.routes.flask_route)
    app.wsgi_app = RbkitWebsocket(app.wsgi_app)
    return app
