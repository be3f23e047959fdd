"""Finds the request that a stack belongs to.

The middleware's own function is on the stack for as long as the application's runs. The middleware hands over a
:class:`Marker` that tells this function, and the identity of the function's frame leads to the request.
:func:`track` notes a request while a profiler runs and forgets it in a ``finally``; nothing is stored while no profiler
runs. A body that goes on after the application's function has returned (a streamed one) is found by the web server's
function that sends it, see :mod:`.server_functions`.

A request that began before the profiler is found as well: the marker's variable is read from the frame, which costs
some tenths of a microsecond. ``stacks`` and ``blocked`` find requests so at any time. The native sampler calls no
Python while it looks, so when it starts, requests under way are noted (:meth:`Requests.adopt`), and of a streamed body
the sampler keeps the keys of the name (:class:`Streamed`).

For samplers: :meth:`Requests.walk` is the one walk over a stack in Python, and :meth:`Requests.of_walk` gives its
:class:`Request` (or None), the same object for all samples of one tracked request. Keep that object with the sample and
read its ``name`` when sending: the route may be known by then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

from ...system.clock import time
from ..base import CALLBACKS
from ..depth import both_ends
from .request_names import ROUTE, RequestNames
from .server_functions import Served, ServerFunctions

__all__ = ["REQUESTS", "TOLD", "Marker", "Request", "Requests", "Streamed", "Walk", "track"]

_NAMING: Final = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", ROUTE)
TOLD: Final = (*_NAMING, "HTTP_UPGRADE", "HTTP_SEC_WEBSOCKET_PROTOCOL")
"""Keys of an environ that make a request's name, and tell whether it is the application's."""


class Request:
    """A request that runs while a profiler does. It holds the environ only until the application's function returns.

    Attributes:
        environ: the application's, later only the keys of the name.
        began: monotonic time; None where no profiler saw the begin.
    """

    __slots__ = ("_names", "began", "environ", "is_dict")

    def __init__(self, environ: dict[str, Any], names: RequestNames, began: float | None = None) -> None:
        self.environ = environ
        self.began = began
        self.is_dict = type(environ) is dict
        self._names = names

    @property
    def name(self) -> str:
        """``GET /users/<id>``; it may change while a request runs, when its route becomes known."""
        return self._names.of(self.environ)

    def finish(self) -> None:
        """Keeps only the keys that make the name."""
        environ: object = self.environ
        keys = _NAMING if isinstance(environ, dict) else ()
        self.environ = {key: value for key in keys if type(value := dict.get(self.environ, key)) is str}


class Streamed(tuple[str | None, ...]):
    """A request whose body is on its way, as the native sampler has seen it: the values of :data:`TOLD`.

    Equal values may be of several requests. The sampler makes it amid application code, and calls no method for that.
    """

    __slots__ = ()

    @property
    def name(self) -> str | None:
        """The request's name; None for a request of our own."""
        environ: dict[str, Any] = {key: value for key, value in zip(TOLD, self, strict=True) if value is not None}
        return None if REQUESTS.is_own(environ) else REQUESTS.names.of(environ)


class Marker(NamedTuple):
    """The function of the middleware whose frame stands for a request. All middlewares of a process share its code.

    Attributes:
        code: the function's; it calls what :func:`track` returns directly.
        environ: the name of its variable with the environ.
    """

    code: CodeType
    environ: str


class Walk(NamedTuple):
    """A stack, and the frames on it that tell the request.

    Attributes:
        stack: code, instruction, code, instruction, ... innermost first; a deep stack's both ends.
        marked: the outermost frame of the marker's function.
        server: the outermost frame of a web server's function.
    """

    stack: list[Any]
    marked: FrameType | None
    server: FrameType | None

    @property
    def outermost(self) -> CodeType | None:
        """The code of the stack's outermost frame."""
        return self.stack[-2] if self.stack else None


class Requests:
    """The requests that run in this process.

    Attributes:
        running: each request that is noted, by the identity of the middleware's frame.
        marker: the middleware's; None where there is no middleware, or all have ``request_names`` off.
        tracked_code: the code of the function that :func:`track` puts between the middleware and the application.
    """

    def __init__(self) -> None:
        self.running: dict[int, Request] = {}
        self._adopted: set[int] = set()
        self.marker: Marker | None = None
        self.tracked_code: CodeType | None = None
        self._wanted: set[int] = set()
        self._switch: Callable[[], None] | None = None
        self._ignored: Callable[[dict[str, Any]], bool] = bool
        self._ours: frozenset[str] = frozenset()
        self.servers = ServerFunctions()
        self.names = RequestNames()

    def connect(
        self,
        marker: Marker,
        ignored: Callable[[dict[str, Any]], bool],
        switch: Callable[[], None],
        ours: frozenset[str] = frozenset(),
    ) -> None:
        """Called by the middleware.

        Args:
            marker: of its function.
            ignored: tells whether a request is ours, not the application's.
            switch: is called when :attr:`tracking` has changed, by any thread.
            ours: paths of our own pages; of all middlewares of the process together.
        """
        self.marker = marker
        self._ours |= ours
        self._ignored = ignored
        self._switch = switch

    @property
    def tracking(self) -> bool:
        """Whether any profiler wants requests to be tracked."""
        return bool(self._wanted)

    def want(self, owner: object, wanted: bool) -> None:
        """Notes that a profiler begins, or ceases, to sample."""
        self.servers.learn()
        before = self.tracking
        (self._wanted.add if wanted else self._wanted.discard)(id(owner))
        if not self._wanted:
            self.adopt(())
        if self.tracking != before and self._switch is not None:
            self._switch()

    def forget(self) -> None:
        """Forgets all requests in a forked child, where neither the sampler nor most requests are."""
        self._wanted.clear()
        self._adopted.clear()
        self.running.clear()

    def adopt(self, stacks: Iterable[FrameType]) -> bool:
        """Notes requests that began before the profiler did, and forgets requests noted so that have ended.

        Args:
            stacks: the innermost frames of all threads and greenlets.

        Returns:
            Whether any is noted.
        """
        found: set[int] = set()
        for frame in stacks:
            marked = self.walk(frame).marked
            if marked is None or ((key := id(marked)) in self.running and key not in self._adopted):
                continue
            if key in self._adopted:
                found.add(key)
            elif (request := self._underway(marked)) is not None:
                found.add(key)
                self.running.setdefault(key, request)
        for key in self._adopted - found:
            self.running.pop(key, None)
        self._adopted = found
        return bool(found)

    def _underway(self, frame: FrameType) -> Request | None:
        """The request of a frame that is not tracked. Its name is final: its end is not noticed."""
        assert self.marker is not None
        environ = frame.f_locals.get(self.marker.environ)
        if not isinstance(environ, dict) or self.is_own(environ, unsure=True):
            return None
        request = Request(environ, self.names)
        request.finish()
        return request

    def of_stack(self, frame: FrameType | None) -> Request | None:
        """The request that a stack belongs to, from any of its inner frames; None when it belongs to none."""
        return self.of_walk(self.walk(frame))

    def of_walk(self, walk: Walk) -> Request | None:
        """The request that a stack belongs to; None when it belongs to none."""
        if walk.marked is not None:
            return self.running.get(id(walk.marked)) or self._underway(walk.marked)
        served = self._streamed(walk.server)
        if served is None:
            return None
        request = Request(served.environ, self.names)
        request.finish()
        return request

    def age(self, request: Request, server: FrameType | None) -> float | None:
        """Seconds since a request began, by the server's note where it has one: that covers unwatched ones too."""
        served = self.servers.read(server) if server is not None else None
        if served is not None and served.age is not None:
            return served.age
        return time.monotonic() - request.began if request.began is not None else None

    def walk(self, frame: FrameType | None) -> Walk:
        """Walks a stack from its innermost frame outwards, without functions that are not the thread's own work."""
        stack: list[Any] = []
        put, servers = stack.append, self.servers.codes
        marker = self.marker.code if self.marker is not None else None
        marked = server = None
        if frame is not None and frame.f_code in CALLBACKS:
            frame = frame.f_back
        while frame is not None:
            code = frame.f_code
            put(code)
            put(frame.f_lasti)
            if code is marker:
                marked = frame
            elif id(code) in servers:
                server = frame
            frame = frame.f_back
        return Walk(both_ends(stack), marked, server)

    def is_passage(self, code: CodeType) -> bool:
        """Whether code is of a function of ours that stands below every view, and so says nothing about a stack."""
        return code is self.tracked_code or (self.marker is not None and code is self.marker.code)

    def count(self, stacks: Iterable[FrameType]) -> int:
        """The number of these stacks, given by their innermost frames, that are requests of the application.

        A request whose body is on its way counts too.
        """
        self.servers.learn()
        number = 0
        for _, marked, server in map(self.walk, stacks):
            if marked is not None and self.marker is not None:
                number += not self.is_own(marked.f_locals.get(self.marker.environ, {}))
            else:
                number += self._streamed(server) is not None
        return number

    def _streamed(self, server: FrameType | None) -> Served | None:
        """A server's facts of an application's body that is on its way."""
        if self.marker is None:
            return None  # no middleware wants names
        served = self.servers.read(server) if server is not None else None
        return served if served is not None and served.body and not self.is_own(served.environ) else None

    def is_own(self, environ: dict[str, Any], *, unsure: bool = False) -> bool:
        """Whether a request is one of our own sessions or pages.

        Args:
            unsure: the answer where its environ holds a value that cannot be read.
        """
        try:
            return self._ignored(environ) or environ.get("PATH_INFO") in self._ours
        except Exception:  # noqa: BLE001 - an environ may hold anything
            return unsure

    def name_of_stack(self, frame: FrameType | None) -> str | None:
        """The name of that request."""
        request = self.of_stack(frame)
        return request.name if request is not None else None


REQUESTS: Final = Requests()
"""The requests of this process. A frame's identity holds in the whole process, whichever server samples it."""


def track(app: Callable[[dict[str, Any], Any], Any], requests: Requests = REQUESTS) -> Callable[..., Any]:
    """``app``, called so that the request is known while it runs; arguments, result and errors pass untouched.

    For the function of the :class:`Marker` alone: the frame that calls stands for the request.
    """
    running, frame_of, names, now = requests.running, sys._getframe, requests.names, time.monotonic

    def tracked(environ: dict[str, Any], start_response: Any) -> Any:
        key = id(frame_of(1))  # the marked frame, which outlives this call
        request = running[key] = Request(environ, names, now())
        try:
            return app(environ, start_response)
        finally:
            # No call from here to the return. After a call the interpreter checks whether a sampler wants a look: that
            # would find this frame, and charge it with the application's last work before it returned.
            if key in running:
                del running[key]
            if not request.is_dict:
                request.finish()
            else:
                kept = {}
                if "REQUEST_METHOD" in environ:
                    kept["REQUEST_METHOD"] = environ["REQUEST_METHOD"]
                if "SCRIPT_NAME" in environ:
                    kept["SCRIPT_NAME"] = environ["SCRIPT_NAME"]
                if "PATH_INFO" in environ:
                    kept["PATH_INFO"] = environ["PATH_INFO"]
                if ROUTE in environ:
                    kept[ROUTE] = environ[ROUTE]
                request.environ = kept

    requests.tracked_code = tracked.__code__
    return tracked
