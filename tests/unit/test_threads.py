"""What servers of threads need: calls from one event loop into another, and reading ahead."""

from __future__ import annotations

import _pyio
import io
import socket
import threading
from typing import Any

import gevent
import pytest

from rbkit_websocket.takeover.registry import refusal_of
from rbkit_websocket.takeover.threaded import read_ahead
from rbkit_websocket.websocket.hubs import call_in


def test_over_http_2_the_refusal_says_so() -> None:
    assert refusal_of(None, {"SERVER_PROTOCOL": "HTTP/2"}).startswith("over HTTP/2 many streams share one connection")


@pytest.mark.parametrize("reader", [io.BufferedReader, _pyio.BufferedReader])
@pytest.mark.parametrize("timeout", [None, 10.0])
def test_reading_ahead_takes_what_is_there_and_never_waits(reader: Any, timeout: float | None) -> None:
    here, there = socket.socketpair()
    with here, there, reader(socket.SocketIO(here, "r")) as rfile:
        here.settimeout(timeout)
        assert read_ahead(rfile, here) == b""
        there.sendall(b"line\nbehind")
        assert rfile.readline() == b"line\n"
        assert read_ahead(rfile, here) == b"behind"
        there.sendall(b"more")
        assert read_ahead(rfile, here) == b"more"
        there.close()
        assert read_ahead(rfile, here) == b""
        assert here.gettimeout() == timeout


def test_a_call_reaches_the_thread_of_its_event_loop_and_a_destroyed_one_is_left_alone() -> None:
    ready, told = threading.Event(), threading.Event()
    hubs: list[Any] = []
    threads: list[int] = []

    def tell() -> None:
        threads.append(threading.get_ident())
        told.set()

    def loop() -> None:
        hub = gevent.get_hub()
        hubs.append(hub)
        ready.set()
        while not told.is_set():
            gevent.sleep(0.005)
        hub.destroy(destroy_loop=True)
        hub.throw(gevent.GreenletExit)

    thread = threading.Thread(target=loop)
    thread.start()
    assert ready.wait(5)
    call_in(hubs[0], tell)
    thread.join(5)
    assert threads == [thread.ident]
    call_in(hubs[0], tell)
    assert threads == [thread.ident]

    here: list[str] = []
    call_in(gevent.get_hub(), here.append, "at once")
    assert here == ["at once"]
