"""Which requests run, and for how long: on connections that are kept, and while a body is on its way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from support.rawclient import RawClient, connect_rbkit
from support.servers import ALL, TOKEN, WebServer
from support.waiting import wait_until

from rbkit_websocket.protocol.messages import decode_answer

TELLING = ("gunicorn-gevent", "gunicorn-gthread", "gunicorn-gevent_pywsgi", "pywsgi", "pywsgi-websockethandler")
OTHERS = ("wsgiref-threads", "cheroot", "werkzeug-patched")


def requests_of(web: WebServer) -> int:
    listed = json.loads(web.get("/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"}))["servers"]
    return listed[0]["requests"]


@contextmanager
def asking(web: WebServer) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What runs in a request, threads and greenlets, each once."""
    with connect_rbkit(web.url("/"), token=TOKEN) as client:

        def ask() -> list[dict[str, Any]]:
            answer = decode_answer(client.command("stacks"))
            assert isinstance(answer, dict)
            greenlets = [entry for entry in answer["greenlets"] if entry["request"]]
            # A thread's current greenlet is listed with both.
            return greenlets or [entry for entry in answer["threads"] if entry["request"]]

        yield ask


@contextmanager
def begun(web: WebServer, path: str, number: int) -> Iterator[list[RawClient]]:
    """Requests whose bodies have begun to come."""
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(web.port)) for _ in range(number)]
        for client in clients:
            client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield clients


@pytest.mark.parametrize("server", [*TELLING, *OTHERS])
def test_a_streamed_body_is_a_request_until_it_ends(server: str) -> None:
    with ALL[server]("streaming") as web:
        web.get("/hello")
        # Nobody has watched before.
        with begun(web, "/stream", 4) as clients:
            for client in clients:
                client.read_until(b"first")
            # A server that does not tell in time is listed without the figure.
            wait_until(lambda: requests_of(web) == 4, "the bodies")
            with asking(web) as ask:
                running = ask()
                assert [entry["request"] for entry in running] == ["GET /stream"] * 4
                ages = [entry["request_age"] for entry in running]
                assert all(age is not None and age >= 0 for age in ages) is (server in TELLING)
            assert web.get("/end") == b"ended"
            wait_until(lambda: requests_of(web) == 0, "the end of the bodies")


@pytest.mark.parametrize("server", TELLING[:4])
def test_a_request_is_no_older_than_itself_on_a_connection_that_is_kept(server: str) -> None:
    ask_for = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
    with ALL[server]("plain") as web, asking(web) as ask, RawClient(web.port) as client:
        client.send(ask_for % b"/nap?seconds=1.5")
        first = wait_until(ask, "the request")
        assert client.response().status == 200
        client.send(ask_for % b"/nap?seconds=1.5")
        second = wait_until(ask, "the next request")
        assert [entry["request"] for entry in first + second] == ["GET /nap"] * 2
        if "age" in second[0]:
            assert 0 <= second[0]["request_age"] < second[0]["age"] - 1.0
        assert client.response().status == 200


@pytest.mark.parametrize("server", OTHERS)
def test_other_servers_requests_have_an_age_once_somebody_watches(server: str) -> None:
    with ALL[server]("plain") as web, asking(web) as ask, RawClient(web.port) as client:
        assert ask() == []
        client.send(b"GET /nap?seconds=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        [running] = wait_until(ask, "the request")
        later = ask()
        assert 0 <= running["request_age"] < 60
        if later:
            assert later[0]["request_age"] > running["request_age"]
        assert client.response().status == 200
