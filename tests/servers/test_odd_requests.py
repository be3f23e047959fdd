"""Malformed, huge and odd upgrades: whatever becomes of them, the application's next answer is the same bytes."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest
from support.rawclient import KEY, RawClient, upgrade_request
from support.servers import TOKEN, WebServer

from .conftest import target


def odd(path: str = target(), **options: Any) -> bytes:
    return upgrade_request(path, **options)


def with_header(name: str, value: str) -> bytes:
    return upgrade_request(target(), extra=((name, value),))


LATIN = "\xff\xfe"

GROUPS: dict[str, list[bytes]] = {
    "request lines": [
        *(odd(f"http://127.0.0.1{target()}"), odd("*"), b"GET /?token=%s\r\n\r\n" % TOKEN.encode()),
        *(odd(version=version) for version in ("HTTP/2.0", "HTTP/1.2", "HTTP/1.0", "HTTP/x", "")),
        *(odd(method=method) for method in ("get", "FOO", "CONNECT", "OPTIONS", "TRACE", "HEAD")),
    ],
    "queries": [
        *(
            odd(f"/?{query}")
            for query in ("token=%zz%", "%ff%fe=%00&token=%00%ff", f"token={LATIN}", "token=%ed%a0%80")
        ),
        *(odd("/?" + "a=b&" * 500), odd("/?token=" + "x" * 60_000), odd(target() + "&server=" + "x" * 6000)),
        *(odd(f"{target()}&server={server}") for server in ("../../etc/passwd", "%00" * 300, "a%0d%0ab", "%ed%a0%80")),
        odd(f"{target()}&frames=%0d%0aX-Evil:1"),
    ],
    "headers": [
        *(with_header("X-A", value) for value in ("b\r\n c", "a\x00b", LATIN, "x" * 70_000)),
        *(odd(Sec_WebSocket_Key=value) for value in ("a\x00b", "\xff" * 24, f"  {KEY}  ", "x" * 9000)),
        *(odd(Sec_WebSocket_Version=value) for value in ("13, 8", LATIN, "9" * 5000)),
        *(odd(protocols=value) for value in (f"rbkit, {LATIN}", "chat, " * 2000 + "rbkit", "," * 3000 + "rbkit")),
        *(odd(extra=tuple((f"X-{number}", "y") for number in range(count))) for count in (90, 2000)),
        *(odd(Connection="close, Upgrade"), odd(Upgrade="h2c, websocket"), odd(Upgrade="websocket, websocket")),
        with_header("Sec_WebSocket_Key", KEY),
    ],
    "who it is": [
        *(odd(drop=("Host",)), with_header("Host", "evil"), odd(Host=""), odd(Host="a:b:c")),
        *(odd(Origin=value) for value in (f"http://{LATIN}", "http://127.0.0.1:99999999", "http://[::1", "null")),
        *(odd(Host="[::1", Origin="http://[::1]"), odd("/", Authorization=f"Bearer {LATIN}")),
        odd("/", Cookie=f"{LATIN}={LATIN}; rbkit_=\x80; ;=;"),
    ],
    "bodies": [
        *(odd(Transfer_Encoding=value) for value in ("gzip, chunked", "identity", "xchunked", "")),
        odd(Transfer_Encoding="chunked", Content_Length="5") + b"0\r\n\r\n",
        *(odd(Content_Length=value) for value in ("-1", "abc", "+5", "", "9" * 30)),
        odd(Content_Length="5", extra=(("Content-Length", "6"),)),
        odd(Expect="100-continue", Content_Length="5"),
    ],
    "no HTTP": [
        *(
            odd().replace(b"\r\n", b"\n"),
            odd().replace(b"\r\n", b"\r"),
            odd()[:-2],
            b"\x16\x03\x01\x02\x00\x01\x00" * 10,
        ),
    ],
}


def hello(web: WebServer) -> bytes:
    with RawClient(web.port) as client:
        client.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return re.sub(rb"(?i)date: [^\r]*", b"", client.read_to_end())


@pytest.mark.parametrize("group", GROUPS)
def test_the_application_answers_as_before(any_server: tuple[str, WebServer], group: str) -> None:
    _, web = any_server
    said = len(web.log())
    before = hello(web)
    assert b"hello from" in before
    for data in GROUPS[group]:
        with RawClient(web.port) as client:
            try:
                client.send(data)
                client.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has heard enough
            answer = client.read_to_end()
        assert not re.match(rb"HTTP/1\.\d 500", answer), data[:300]
        assert hello(web) == before, data[:300]
    assert web.process.poll() is None
    assert "/rbkit_websocket/" not in web.log()[said:], "no traceback leads to us"
