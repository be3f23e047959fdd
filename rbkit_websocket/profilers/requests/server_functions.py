"""Functions of web servers, and the facts in their variables: a request's environ, its begin, its body.

When the application's function has returned, a body may go on for as long as its client listens, and no function of
the middleware is on the stack any more. A wrapper around the body would change what the server gets:
``wsgi.file_wrapper``, ``len()`` and ``close()`` mean something to it. But each server keeps environ and body in
variables of one function, which are read when a stack is walked: here, and by the native sampler in
``native/sampler/served.c``. uWSGI's is written in C: there a streamed body belongs to no request.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

from ...system.clock import time

__all__ = ["Served", "ServerFunctions"]

_LOADED: Final = time.monotonic()
# A server has read the time before we did, by a clock that may be set.
_TOLERANCE: Final = 60.0


class Served(NamedTuple):
    """Facts from a frame of a server's function.

    Attributes:
        environ: of the request, as the server has made it.
        age: seconds since the request began; None where the server does not note the begin.
        body: whether the application's function has returned, and its body is on its way.
    """

    environ: dict[str, Any]
    age: float | None
    body: bool


class _Where(NamedTuple):
    """Variables of a function, or attributes of one: ``environ``, ``self.environ``."""

    environ: str
    body: str
    began: str = ""


_GUNICORN: Final = _Where("environ", "respiter", "request_start")
# Module, function, a function within it or "", and its variables.
_KNOWN: Final = (
    ("gunicorn.workers.base_async", "AsyncWorker.handle_request", "", _GUNICORN),
    ("gunicorn.workers.gthread", "ThreadWorker.handle_request", "", _GUNICORN),
    ("gunicorn.workers.sync", "SyncWorker.handle_request", "", _GUNICORN),
    ("gevent.pywsgi", "WSGIHandler.run_application", "", _Where("self.environ", "self.result", "self.time_start")),
    ("werkzeug.serving", "WSGIRequestHandler.run_wsgi", "execute", _Where("environ", "application_iter")),
    ("wsgiref.handlers", "BaseHandler.run", "", _Where("self.environ", "self.result")),
    ("cheroot.wsgi", "Gateway.respond", "", _Where("self.env", "response")),
    ("waitress.task", "WSGITask.execute", "", _Where("environ", "app_iter")),
)


class ServerFunctions:
    """The functions of the loaded web servers.

    Attributes:
        codes: by the identity of a function's code.
    """

    def __init__(self) -> None:
        self.codes: dict[int, _Where] = {}
        # Kept, so that an identity stays its own.
        self._kept: list[CodeType] = []
        self._left = list(_KNOWN)

    def learn(self) -> None:
        """Looks for servers that have been loaded meanwhile; cheap."""
        for known in tuple(self._left):
            module, path, inner, where = known
            code = _code(sys.modules.get(module), path, inner)
            if code is not None:
                self._left.remove(known)
                self._kept.append(code)
                self.codes[id(code)] = where

    def table(self) -> tuple[tuple[CodeType, str, str, str, str], ...]:
        """A table for the native sampler: each function's code, and where its environ and body are, two names each."""
        return tuple(
            (code, *_names(where.environ), *_names(where.body))
            for code, where in zip(self._kept, self.codes.values(), strict=True)
        )

    def read(self, frame: FrameType) -> Served | None:
        """The facts of one of these functions; None before it has made an environ."""
        where = self.codes[id(frame.f_code)]
        variables = frame.f_locals
        environ = _value(variables, where.environ)
        if not isinstance(environ, dict):
            return None
        return Served(environ, _age(_value(variables, where.began)), _value(variables, where.body) is not None)


def _names(path: str) -> tuple[str, str]:
    name, _, attribute = path.partition(".")
    return name, attribute


def _value(variables: Mapping[str, Any], path: str) -> Any:
    name, attribute = _names(path)
    found = variables.get(name)
    if not attribute or found is None:
        return found
    try:
        # Only the instance's own attribute: a property of its class would run application code.
        return object.__getattribute__(found, "__dict__").get(attribute)
    except AttributeError:
        return None


def _code(module: object, path: str, inner: str) -> CodeType | None:
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name, None)
    code = getattr(found, "__code__", None)
    if isinstance(code, CodeType) and inner:
        code = next((const for const in code.co_consts if isinstance(const, CodeType) and const.co_name == inner), None)
    return code if isinstance(code, CodeType) else None


def _age(began: object) -> float | None:
    """Seconds since a wall-clock time, unless the application has stopped the clock that the server has read."""
    if (timestamp := getattr(began, "timestamp", None)) is not None:  # a datetime, gunicorn's
        began = timestamp()
    if not isinstance(began, float) or not began:
        return None
    age = time.time() - began
    return max(age, 0.0) if -1.0 < age < time.monotonic() - _LOADED + _TOLERANCE else None
