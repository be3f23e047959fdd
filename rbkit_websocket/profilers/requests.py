"""Which request a stack belongs to.

The middleware's own function is on the stack for as long as the application's runs: :attr:`Requests.entry` is its code,
and the identity of its frame leads to the request's environ. That is noted while a profiler runs, by :func:`track`, and
gone in a ``finally``; nothing is stored while none runs. A body that is iterated after the application's function has
returned (a streamed one) belongs to no request.

A request that began before the profiler is found as well: the variables of that frame are read, which costs some tenths
of a microsecond. ``stacks`` and ``blocked`` find requests so at any time.

For samplers: walk a stack and compare each frame's code with ``REQUESTS.entry``. ``REQUESTS.at(frame)`` of the
outermost one that matches is a :class:`Request` (or None), the same object for all samples of one tracked request.
``REQUESTS.sampled.get(id(frame))`` is the same without a call, from the second sample on. Keep that object with the
sample and read its ``name`` when sending: the route may be known by then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FrameType
from typing import Any, Final

from .names import Names

__all__ = ["REQUESTS", "Request", "Requests", "track"]

# A recursion deeper than this hides its request.
_MAX_DEPTH: Final = 2000


class Request:
    """A request that has been sampled. It holds the environ only until the application's function returns."""

    __slots__ = ("_environ", "_name", "_names")

    def __init__(self, environ: dict[str, Any], names: Names) -> None:
        self._environ: dict[str, Any] | None = environ
        self._names = names
        self._name = ""

    @property
    def name(self) -> str:
        """``GET /users/<id>``; the last one that was known, since routes are found while a request runs."""
        environ = self._environ
        return self._names.of(environ) if environ is not None else self._name

    def finish(self) -> None:
        """In the application's thread, when its function returns: what is kept from now on is the name."""
        environ = self._environ
        if environ is not None:
            self._name = self._names.of(environ)
            self._environ = None


class Requests:
    """The requests that run in this process.

    Attributes:
        running: the environ of each tracked request by the identity of the middleware's frame.
        sampled: likewise the :class:`Request` of those that have been sampled.
        entry: the code of the middleware's own function, which has a variable ``environ``.
    """

    def __init__(self) -> None:
        self.running: dict[int, dict[str, Any]] = {}
        self.sampled: dict[int, Request] = {}
        self.entry: CodeType | None = None
        self._wanted: set[int] = set()
        self._switch: Callable[[], None] | None = None
        self._ignored: Callable[[dict[str, Any]], bool] = bool
        self._names = Names()

    def connect(self, entry: CodeType, ignored: Callable[[dict[str, Any]], bool], switch: Callable[[], None]) -> None:
        """Called by the middleware.

        Args:
            entry: the code of its function.
            ignored: whether a request is none of the application's.
            switch: is called when :attr:`tracking` has changed, by any thread.
        """
        self.entry = entry
        self._ignored = ignored
        self._switch = switch

    @property
    def tracking(self) -> bool:
        """Whether anybody wants requests to be tracked."""
        return bool(self._wanted)

    def want(self, owner: object, wanted: bool) -> None:
        """Somebody begins, or ceases, to sample."""
        before = self.tracking
        (self._wanted.add if wanted else self._wanted.discard)(id(owner))
        if self.tracking != before and self._switch is not None:
            self._switch()

    def forget(self) -> None:
        """In a forked child, where neither the sampler nor most of the requests are."""
        self._wanted.clear()
        self.running.clear()
        self.sampled.clear()

    def at(self, frame: FrameType) -> Request | None:
        """The request of a frame whose code is :attr:`entry`."""
        key = id(frame)
        request = self.sampled.get(key)
        if request is None:
            environ = self.running.get(key)
            if environ is None:
                return self._underway(frame)
            request = self.sampled[key] = Request(environ, self._names)
            if self.running.get(key) is not environ:
                # It has ended in between, and its frame's identity may soon be somebody else's.
                self.sampled.pop(key, None)
                request.finish()
        return request

    def _underway(self, frame: FrameType) -> Request | None:
        """The request of a frame that is not tracked. Its name is final: nobody tells its end."""
        variables = frame.f_locals
        environ = variables.get("environ")
        try:
            if not isinstance(environ, dict) or self._is_ours(variables):
                return None
        except (AttributeError, LookupError, TypeError, ValueError):
            # An environ may hold anything. But the native sampler calls this in the main thread, where what a signal's
            # handler raises is the application's.
            return None
        request = Request(environ, self._names)
        request.finish()
        return request

    def of_stack(self, frame: FrameType | None) -> Request | None:
        """The request that a stack belongs to, from any of its inner frames; None when it belongs to none."""
        marked = self._marked(frame)
        return self.at(marked) if marked is not None else None

    def _marked(self, frame: FrameType | None) -> FrameType | None:
        """The outermost frame of :attr:`entry`."""
        entry = self.entry
        marked = None
        depth = 0
        while frame is not None and depth < _MAX_DEPTH:
            if frame.f_code is entry:
                marked = frame
            frame = frame.f_back
            depth += 1
        return marked

    def count(self, stacks: Iterable[FrameType]) -> int:
        """How many of these stacks, given by their innermost frames, are requests of the application."""
        return sum(marked is not None and self._is_the_applications(marked) for marked in map(self._marked, stacks))

    def _is_the_applications(self, frame: FrameType) -> bool:
        try:
            return not self._is_ours(frame.f_locals)
        except Exception:  # noqa: BLE001 - an environ may hold anything
            return True

    def _is_ours(self, variables: Mapping[str, Any]) -> bool:
        """Whether a frame of :attr:`entry` with these variables serves one of our sessions or pages."""
        environ = variables["environ"]
        return self._ignored(environ) or environ.get("PATH_INFO") in variables["ours"]

    def name_of_stack(self, frame: FrameType | None) -> str | None:
        """The name of that request."""
        request = self.of_stack(frame)
        return request.name if request is not None else None


REQUESTS: Final = Requests()
"""Those of this process: a frame's identity is the process's matter, whichever server samples it."""


def track(app: Callable[[dict[str, Any], Any], Any], requests: Requests = REQUESTS) -> Callable[..., Any]:
    """``app``, called so that the request is known while it runs; arguments, result and errors pass untouched."""
    running, sampled, frame_of = requests.running, requests.sampled, sys._getframe

    def tracked(environ: dict[str, Any], start_response: Any) -> Any:
        # Its caller's frame, which outlives this call. An upgrade has passed another function and is not found by it,
        # but as one that has begun before the profiler.
        key = id(frame_of(1))
        running[key] = environ
        try:
            return app(environ, start_response)
        finally:
            # In this order; at() looks in the other one.
            running.pop(key, None)
            if key in sampled and (request := sampled.pop(key, None)) is not None:
                request.finish()

    return tracked
