"""The bridge's two halves over real ZeroMQ, in event loops that are blocked at the wrong moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
import zmq
from support.ports import free_port
from support.waiting import scaled

from rbkit_websocket.bridge.command_queue import CommandQueue
from rbkit_websocket.bridge.feed import Feed
from rbkit_websocket.bridge.zmqlink import bridge_socket

# time.sleep is not patched in the tests' process: it blocks the event loop, as an application's own code may.
block = time.sleep


class Outbox:
    """Has room for everything."""

    def wait_for_room(self, size: int) -> None:
        pass


class Listener:
    outbox: Any = None
    text = False

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def send_text(self, text: str) -> None:
        pass

    def give_up(self, reason: str) -> None:
        self.reasons.append(reason)


Bind = Callable[[int, str], Any]


@pytest.fixture(scope="module", autouse=True)
def bridges_context() -> None:
    """The bridge's context stays for the life of the process: it is there before a test's leaks are counted."""
    bridge_socket(zmq.REQ, "", None, 1000).close(0)


@pytest.fixture
def bind() -> Iterator[Bind]:
    """Gives a socket of a kind at an endpoint, which may just be free again."""
    context: zmq.Context[Any] = zmq.Context()
    sockets: list[Any] = []

    def bind(kind: int, endpoint: str) -> Any:
        socket = context.socket(kind)
        sockets.append(socket)
        deadline = time.monotonic() + scaled(5)
        while True:
            try:
                socket.bind(endpoint)
                return socket
            except zmq.ZMQError:
                assert time.monotonic() < deadline
                block(0.01)

    yield bind
    for socket in sockets:
        socket.close(0)
    context.term()


def wait(condition: Any) -> None:
    with gevent.Timeout(scaled(10)):
        while not condition():
            gevent.sleep(0.01)


def queue(endpoint: str, failed: list[tuple[int, str]]) -> CommandQueue:
    """A session's commands; what the session would be closed with goes to ``failed``."""
    return CommandQueue(
        endpoint,
        Outbox(),  # type: ignore[arg-type]
        lambda answer: None,
        lambda code, reason: failed.append((code, reason)),
        command_timeout=60,
        connect_timeout=2,
        max_commands=64,
        max_answer=100_000,
    )


def test_a_server_that_restarts_while_the_loop_is_blocked_has_lost_the_command(bind: Bind) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    router = bind(zmq.ROUTER, endpoint)
    failed: list[tuple[int, str]] = []
    requests = queue(endpoint, failed)
    try:
        assert requests.connect() is None
        requests.submit(b"objectspace_snapshot")
        wait(lambda: router.poll(0))
        router.close()
        bind(zmq.ROUTER, endpoint)
        block(0.6)  # both the loss and the new connection are there when the loop turns again
        wait(lambda: failed)
        assert failed[0][0] == 1011
        assert "went away" in failed[0][1]
    finally:
        requests.close()


def test_a_publisher_is_found_although_the_loop_was_blocked_past_the_time_out(bind: Bind) -> None:
    publisher = bind(zmq.PUB, "tcp://127.0.0.1:*")
    listener = Listener()
    feed = Feed.join(publisher.last_endpoint.decode(), listener, None, 100_000)
    try:
        gevent.spawn(block, 0.6)
        assert feed.wait_connected(0.5)
    finally:
        feed.leave(listener)


def test_sessions_are_told_of_a_publication_over_the_bound(bind: Bind) -> None:
    publisher = bind(zmq.XPUB, "tcp://127.0.0.1:*")
    endpoint = publisher.last_endpoint.decode()
    first, second = Listener(), Listener()
    feed = Feed.join(endpoint, first, None, 100_000)
    try:
        assert feed.wait_connected(scaled(5))
        wait(lambda: publisher.poll(0))  # the subscription
        publisher.send(bytes(100_001))
        wait(lambda: first.reasons)
        assert "max_server_message" in first.reasons[0]
    finally:
        feed.leave(first)
    again = Feed.join(endpoint, second, None, 100_000)
    try:
        assert again.wait_connected(scaled(5))
        assert not second.reasons
    finally:
        again.leave(second)


def test_a_session_is_told_of_an_answer_over_the_bound(bind: Bind) -> None:
    router = bind(zmq.ROUTER, "tcp://127.0.0.1:*")
    failed: list[tuple[int, str]] = []
    requests = queue(router.last_endpoint.decode(), failed)
    try:
        assert requests.connect() is None
        requests.submit(b"handshake")
        wait(lambda: router.poll(0))
        *head, _ = router.recv_multipart()
        router.send_multipart([*head, bytes(100_001)])
        wait(lambda: failed)
        assert failed[0][0] == 1011
        assert "max_server_message" in failed[0][1]
    finally:
        requests.close()


def test_a_refused_feed_is_tried_anew_by_the_next_session(bind: Bind) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    first, second = Listener(), Listener()
    refused = Feed.join(endpoint, first, None, 100_000)
    assert not refused.wait_connected(1)
    bind(zmq.PUB, endpoint)
    feed = Feed.join(endpoint, second, None, 100_000)
    try:
        assert feed is not refused
        assert feed.wait_connected(2)
    finally:
        feed.leave(second)
        refused.leave(first)
