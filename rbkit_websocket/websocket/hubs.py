"""Calls from one thread's event loop into another's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub

__all__ = ["call_in"]


def call_in(hub: Hub, function: Callable[..., object], *args: Any) -> None:
    """Calls ``function``, which must not wait, in the thread of ``hub``: at once if that is this one, else soon.

    A hub that has been destroyed meanwhile is left alone.
    """
    if hub is get_hub_if_exists():
        function(*args)
        return
    try:
        hub.loop.run_callback_threadsafe(function, *args)
    except (AttributeError, ValueError):
        pass  # gevent: no loop any more, or "operation on destroyed loop"
