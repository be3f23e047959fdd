"""Applications whose clocks stand still, in the ways in which people stop them; for gunicorn.

``TEST_CLOCKS`` is ``early`` (before this package is imported), ``late`` (after it) or ``running`` (by a request of
``/stop``); ``TEST_STOPPED_BY`` is ``freezegun``, ``time_machine`` or ``mock``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

WHEN = os.environ.get("TEST_CLOCKS", "")


def stop_the_clocks() -> None:
    """For good: the process is a test's own."""
    how = os.environ["TEST_STOPPED_BY"]
    if how == "freezegun":
        from freezegun import freeze_time

        freeze_time("2012-01-14").start()
    elif how == "time_machine":
        import time_machine

        time_machine.travel(0, tick=False).start()
    else:
        for clock in ("time", "monotonic", "perf_counter", "thread_time", "process_time"):
            mock.patch(f"time.{clock}", return_value=17.0).start()
    assert time.time() == time.time() < 1.4e9


if WHEN == "early":
    stop_the_clocks()

from . import apps  # noqa: E402 - it imports the package

if WHEN == "late":
    stop_the_clocks()


def application() -> Any:
    """Bare WSGI, with one more view."""
    wrapped = apps.plain()

    def stoppable(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/stop":
            stop_the_clocks()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"stopped"]
        return wrapped(environ, start_response)

    return stoppable
