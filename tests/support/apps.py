"""Applications for the tests, wrapped as the README says: one view table served by Flask, Django and bare WSGI.

Options of the middleware come from the environment (``RBKIT_...``), as in a deployment. ``TEST_AUTHORIZE=path`` gives
it an ``authorize`` that lets in whoever asks for that path's prefix, ``TEST_BARE`` leaves the middleware out,
``TEST_AROUND`` puts another one around it that gives it nothing of the server's own (in another thread with
``TEST_AROUND=thread``),
``TEST_NO_GC`` switches the collection of reference cycles off, and ``TEST_ROUTES`` has the framework tell its routes.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from rbkit_websocket import RbkitWebsocket
from rbkit_websocket.routes import flask_route

Body = tuple[str, bytes]

LEAK: list[Leaked] = []
CROWD: list[Any] = []


class Leaked:
    """What /leak keeps."""

    def __init__(self, number: int) -> None:
        self.number = number


def unpatched_sleep() -> Callable[[float], None]:
    """``time.sleep`` as it was before gevent."""
    if "gevent.monkey" in sys.modules:
        return sys.modules["gevent.monkey"].get_original("time", "sleep")
    return time.sleep


def burn_cpu(seconds: float) -> int:
    """Computes for that long; a profile must name this function."""
    turns = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        turns += sum(number * number for number in (1, 2, 3))
    return turns


def hold_the_loop(seconds: float) -> None:
    """Keeps the whole event loop waiting; a profile must name this function."""
    unpatched_sleep()(seconds)


# Views: environ and query to content type and body


def hello(environ: dict[str, Any], query: dict[str, str]) -> Body:
    return "text/plain", b"hello from %d" % os.getpid()


def facts(environ: dict[str, Any], query: dict[str, str]) -> Body:
    """What a test wants to know about this process and request."""
    return "application/json", json.dumps(
        {
            "pid": os.getpid(),
            "environ": {key: repr(value) for key, value in environ.items()},
            "rbkit_keys": sorted(key for key in environ if "rbkit" in key.lower() and not key.startswith("HTTP_")),
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "native_threads": len(os.listdir("/proc/self/task")),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "gc_callbacks": len(gc.callbacks),
            "greenlets": greenlets(),
        }
    ).encode()


def greenlets() -> int:
    """Living greenlets that gevent knows, the request's own among them."""
    if "gevent" not in sys.modules:
        return 0
    from greenlet import greenlet

    return sum(issubclass(type(thing), greenlet) and not thing.dead for thing in gc.get_objects())


def busy(environ: dict[str, Any], query: dict[str, str]) -> Body:
    return "text/plain", b"%d" % burn_cpu(float(query.get("seconds", "0.1")))


def block(environ: dict[str, Any], query: dict[str, str]) -> Body:
    hold_the_loop(float(query.get("seconds", "0.1")))
    return "text/plain", b"blocked"


def nap(environ: dict[str, Any], query: dict[str, str]) -> Body:
    time.sleep(float(query.get("seconds", "0.1")))
    return "text/plain", b"slept"


def leak(environ: dict[str, Any], query: dict[str, str]) -> Body:
    LEAK.extend(Leaked(number) for number in range(int(query.get("count", "1000"))))
    return "text/plain", b"%d" % len(LEAK)


def echo(environ: dict[str, Any], query: dict[str, str]) -> Body:
    """The application's own WebSocket, under a server that gives it one: echoes, and tells its path."""
    websocket = environ.get("wsgi.websocket")
    if websocket is None:
        return "text/plain", b"no WebSocket here"
    while (message := websocket.receive()) is not None:
        websocket.send(message)
    return "text/plain", b""


def fork(environ: dict[str, Any], query: dict[str, str]) -> Body:
    """Forks a child whose event loop turns for a while, as multiprocessing does; tells its pid."""
    child = os.fork()
    if child == 0:
        try:
            time.sleep(0.3)
        finally:
            os._exit(0)
    return "text/plain", b"%d" % child


VIEWS: dict[str, Callable[[dict[str, Any], dict[str, str]], Body]] = {
    "/hello": hello,
    "/facts": facts,
    "/busy": busy,
    "/block": block,
    "/nap": nap,
    "/leak": leak,
    "/fork": fork,
    "/ws": echo,
}


def render(path: str, environ: dict[str, Any]) -> Body:
    """Body of a view."""
    query = {key: values[-1] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
    return VIEWS[path](environ, query)


def middleware(application: Any) -> Any:
    """``application`` wrapped, or bare with ``TEST_BARE=1``."""
    if os.environ.get("TEST_BARE"):
        return application
    if os.environ.get("TEST_NO_GC"):
        gc.disable()
    options: dict[str, Any] = {}
    if prefix := os.environ.get("TEST_AUTHORIZE"):
        options["authorize"] = lambda environ: environ["PATH_INFO"].startswith(prefix)
    wrapped = RbkitWebsocket(application, **options)
    return around(wrapped) if os.environ.get("TEST_AROUND") else wrapped


class LimitedInput:
    """A ``wsgi.input`` of somebody else's."""

    def __init__(self, stream: Any) -> None:
        self.read = stream.read
        self.readline = stream.readline


def around(application: Any) -> Any:
    """A middleware that copies the environ, and gives an input and a start_response of its own."""

    def wrapper(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        copy = {**environ, "wsgi.input": LimitedInput(environ["wsgi.input"])}
        return application(copy, lambda *arguments: start_response(*arguments))

    def in_a_thread(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answers: list[Iterable[bytes]] = []
        thread = threading.Thread(target=lambda: answers.append(wrapper(environ, start_response)))
        thread.start()
        thread.join()
        return answers[0]

    return in_a_thread if os.environ.get("TEST_AROUND") == "thread" else wrapper


# One factory a framework


def flask() -> Any:
    from flask import Flask, Response, request

    app = Flask("rbkit_test_flask")

    def view() -> Response:
        return view_of(request.path)

    def view_of(path: str) -> Response:
        content_type, body = render(path, request.environ)
        return Response(body, content_type=content_type)

    for path in VIEWS:
        app.add_url_rule(path, path.strip("/"), view)
    app.add_url_rule("/users/<int:number>/block", "users", lambda number: view_of("/block"))
    if os.environ.get("TEST_ROUTES"):
        app.before_request(flask_route)
    # Werkzeug routes upgrade requests to rules that say so, and only to those.
    app.add_url_rule("/ws", "websocket", view, websocket=True)
    app.wsgi_app = middleware(app.wsgi_app)
    return app


def django() -> Any:
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path as url

    def view(request: HttpRequest) -> HttpResponse:
        return view_of(request, request.path)

    def view_of(request: HttpRequest, path: str) -> HttpResponse:
        content_type, body = render(path, request.META)
        return HttpResponse(body, content_type=content_type)

    urls = type(sys)("rbkit_test_urls")
    urls.urlpatterns = [url(path.lstrip("/"), view) for path in VIEWS]
    urls.urlpatterns.append(url("users/<int:number>/block", lambda request, number: view_of(request, "/block")))
    sys.modules["rbkit_test_urls"] = urls
    settings.configure(
        DEBUG=False,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="for tests",
        ROOT_URLCONF="rbkit_test_urls",
        MIDDLEWARE=["rbkit_websocket.routes.DjangoRoute"] if os.environ.get("TEST_ROUTES") else [],
    )
    return middleware(get_wsgi_application())


def plain() -> Any:
    """Bare WSGI: shows what the middleware does to responses without a framework in between."""
    return middleware(_views)


def _views(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/written":
        start_response("200 OK", [("Content-Type", "text/plain")])(b"written ")
        return [b"and returned"]
    if path == "/old-client":
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [(Path(__file__).parents[1] / "browser" / "old_client.html").read_bytes()]
    if path == "/body":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
    if path not in VIEWS:
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "7")])
        return [b"nothing"]
    content_type, body = render(path, environ)
    start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


def streaming() -> Any:
    """Bodies of ``/stream`` go on until ``/end``."""
    # No event: of several greenlets that wait for one with a time-out, gevent 26.9 may leave some asleep for ever.
    ended: list[bool] = []

    def stream() -> Iterable[bytes]:
        yield b"first"
        while not ended:
            time.sleep(0.02)
            yield b"."

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path not in ("/stream", "/end"):
            return _views(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/end":
            ended.append(True)
            return [b"ended"]
        return stream()

    return middleware(application)


def crowded() -> Any:
    """``/crowd`` leaves 4345 greenlets behind that wait, ``/interpreter`` another interpreter."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path not in ("/crowd", "/interpreter"):
            return _views(environ, start_response)
        body = b""
        if path == "/crowd":
            import gevent
            from gevent.event import Event

            never = Event()
            CROWD.extend(gevent.spawn(lambda: never.wait()) for _ in range(4345))
            gevent.sleep(0)
            body = b"%d" % len(CROWD)
        else:
            name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
            importlib.import_module(name).create()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    return middleware(application)


def two() -> Any:
    """Two wrapped applications of one process, ``aa`` and ``bb``, each below its path."""
    parts = {name: RbkitWebsocket(_views, name=name, mount=f"/{name}/__rbkit__") for name in ("aa", "bb")}

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return parts[environ["PATH_INFO"].split("/")[1]](environ, start_response)

    return application


def resource() -> Any:
    """gevent-websocket's own way to speak a subprotocol: ``Resource`` names it, path by path."""
    from geventwebsocket import Resource, WebSocketApplication
    from geventwebsocket.protocols.base import BaseProtocol

    class Chat(BaseProtocol):
        PROTOCOL_NAME = "chat"

    class Echo(WebSocketApplication):
        protocol_class = Chat

        def on_open(self, *_: Any) -> None:
            pass

        def on_close(self, *_: Any) -> None:
            pass

        def on_message(self, message: Any, *_: Any) -> None:
            if message is not None:
                self.ws.send(message)

    return middleware(Resource([("/ws", Echo), ("/", plain())]))


def asgi() -> Any:
    """The bare application behind a2wsgi."""
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(plain())
