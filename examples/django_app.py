"""Django in one file: ``gunicorn -k gevent django_app``. ``CHANNELS=1`` installs Channels and Daphne as well."""

import os
import time

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

from rbkit_websocket import RbkitWebsocket

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "for the example"),
    INSTALLED_APPS=["daphne", "channels"] if os.environ.get("CHANNELS") else [],
    MIDDLEWARE=["rbkit_websocket.routes.DjangoRoute"],
)


def user(request, number):
    time.sleep(0.3)  # a query
    return HttpResponse(f"user {number}")


urlpatterns = [path("users/<int:number>", user)]

application = RbkitWebsocket(get_wsgi_application())
