"""The token is in no access log, however it is spelled and whatever a middleware has made of the request."""

from __future__ import annotations

from typing import Any

import pytest
from support.rawclient import RawClient, upgrade_request
from support.servers import ALL, TOKEN, UNSUPPORTED
from support.waiting import wait_until

FORMAT = (
    "%(r)s %(f)s %(U)s %(q)s %({referer}i)s %({authorization}i)s %({cookie}i)s %({x-original-uri}i)s "
    "%({raw_uri}e)s %({query_string}e)s %({http_referer}e)s %({http_authorization}e)s"
)
"""gunicorn's: all that it can be told to write of a request."""

OPTIONS: dict[str, dict[str, Any]] = {
    name: {"options": ["--access-logformat", FORMAT]}
    for name in ("gunicorn-gevent", "gunicorn-gevent_pywsgi", "gunicorn-gthread", "gunicorn-sync")
}

WITH_LOG = (
    *("gunicorn-gevent", "gunicorn-gevent_pywsgi", "gunicorn-gthread", "gunicorn-sync", "pywsgi", "flask-run"),
    *("flask-run-1", "runserver", "runserver-1", "wsgiref-threads", "werkzeug-patched", "uvicorn", "a2wsgi"),
)
"""The others write none, but for uWSGI and hypercorn, which write what the client sent, as the documentation says."""

SPELLED = (
    f"/?token={TOKEN}",
    f"/?%74oken={TOKEN}",
    f"/?x=1&tok%65n={TOKEN}&token={TOKEN}",
    f"/?token=a&%74%6f%6B%65%6e={TOKEN}&y",
    f"/%3Ftoken={TOKEN}?token={TOKEN}",
)

REFERER = f"http://127.0.0.1/__rbkit__/?token={TOKEN}"

REQUESTS = (
    *(upgrade_request(target) for target in SPELLED),
    upgrade_request(SPELLED[0], Transfer_Encoding="chunked") + b"0\r\n\r\n",
    upgrade_request(SPELLED[1], Content_Length="5") + b"hello",
    upgrade_request(SPELLED[2], Sec_WebSocket_Version="8"),
    upgrade_request(SPELLED[0], Origin="https://evil.example"),
    upgrade_request("/", Referer=REFERER, X_Original_URI=SPELLED[1], Authorization=f"Bearer {TOKEN}"),
    upgrade_request("/", Referer=REFERER, version="HTTP/1.0"),
    upgrade_request("/", extra=(("Referer", REFERER), ("Referer", REFERER))),
    f"GET /__rbkit__/servers?%74oken={TOKEN} HTTP/1.1\r\nHost: x\r\nReferer: {REFERER}\r\n\r\n".encode(),
    f"GET /__rbkit__/?token={TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    f"HEAD /__rbkit__?token={TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    f"POST /__rbkit__/login?token={TOKEN} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
)


@pytest.mark.parametrize("around", [False, True], ids=["alone", "wrapped"])
@pytest.mark.parametrize("server", WITH_LOG)
def test_the_token_is_in_no_log(server: str, around: bool) -> None:
    launch: Any = {**ALL, **UNSUPPORTED}[server]
    env = {"TEST_AROUND": "1"} if around else {}
    with launch(env=env, check_log=server != "a2wsgi", **OPTIONS.get(server, {})) as web:
        hidden = 0
        for data in REQUESTS:
            with RawClient(web.port) as client:
                client.send(data)
                status = client.read_until(b"\r\n\r\n").split()[1]
            assert status in (b"101", b"200", b"307", b"400", b"401", b"403", b"405", b"426", b"501"), (data, status)
            # wsgiref tells of no session.
            hidden += status != b"101" and TOKEN.encode() in data.split(b"\r\n")[0]
        web.get("/hello", last="1")
        wait_until(lambda: "/hello" in web.log(), "the access log")
        wait_until(lambda: web.log().count("***") >= hidden, "the lines of all requests")
        assert TOKEN not in web.log()
