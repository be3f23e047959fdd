"""Frames of the application's threads: looked at, never kept."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from support.embeddedpeer import Peer
from support.waiting import scaled, wait_until

from rbkit_websocket.profilers import interpreters
from rbkit_websocket.profilers import thread_frames as module
from rbkit_websocket.profilers.thread_frames import current_frames
from rbkit_websocket.server import Server


class Local:
    """What a function of the application has in a variable."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is in no circle ends by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=["extension", "public"])
def frames_from(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "public":

        def missing(_name: str) -> Any:
            raise module.NativeUnavailable("not here")

        monkeypatch.setattr(module, "extension", missing)
        monkeypatch.setattr(interpreters, "extension", missing)
    caches = (module._way, interpreters._question)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("frames_from", "no_collector")
def test_a_look_keeps_no_frame() -> None:
    inside, over = threading.Event(), threading.Event()
    made: list[weakref.ref[Local]] = []

    def function() -> None:
        local = Local()
        made.append(weakref.ref(local))
        inside.set()
        over.wait(scaled(30))

    def look() -> int:
        frames = current_frames()
        assert frames is not None
        return len(frames)

    thread = threading.Thread(target=function)
    thread.start()
    try:
        assert inside.wait(scaled(20))
        assert threading.get_ident() not in (current_frames() or {})
        assert thread.ident in (current_frames() or {})
        assert look() >= 1
    finally:
        over.set()
        thread.join()
    assert made[0]() is None


@pytest.mark.usefixtures("no_collector")
def test_what_a_watched_function_made_ends_when_it_returns(tmp_path: Path) -> None:
    made: list[weakref.ref[Local]] = []

    def function() -> None:
        local = Local()
        made.append(weakref.ref(local))
        until = time.monotonic() + 0.002
        while time.monotonic() < until:
            pass

    gevent.get_hub()  # whose loop is watched then
    endpoint = f"ipc://{tmp_path}/req"
    server = Server([], [endpoint])
    server.start()
    try:
        with Peer(None, endpoint) as peer:
            for command in ("start_cpu_polling", "wait_profile on"):
                peer.map(command)
            for _ in range(300):
                function()
                if len(made) % 30 == 0:
                    for command in ("stacks", "blocked", "status"):
                        peer.map(command)
            wait_until(lambda: not [ref for ref in made if ref() is not None], "the last look's end")
    finally:
        server.stop()
