"""Middlewares around ours that leave nothing of the server's in the environ, on every server."""

from __future__ import annotations

import pytest
from support.rawclient import RawClient, upgrade_request
from support.servers import ALL

from .conftest import Fleet, Site, in_use, target


@pytest.fixture(scope="session", params=ALL)
def wrapped_site(request: pytest.FixtureRequest, fleet: Fleet) -> Site:
    return fleet.site(request.param, TEST_AROUND="1")


def test_a_middleware_that_replaces_the_input_is_no_obstacle(wrapped_site: Site) -> None:
    with in_use(wrapped_site) as site:
        with site.raw() as client:
            assert client.command("ping") == b"ok"
            assert client.close().close_code == 1000
        assert site.web.get("/hello")


@pytest.mark.parametrize(
    "server",
    [
        *("gunicorn-gevent", "gunicorn-gevent_pywsgi", "gunicorn-gthread", "pywsgi", "pywsgi-websockethandler"),
        *("flask-run", "runserver", "wsgiref-threads", "cheroot"),
    ],
)
def test_one_that_calls_us_in_another_thread_is_named_in_the_refusal(server: str) -> None:
    with ALL[server](env={"TEST_AROUND": "thread"}) as web:
        with RawClient(web.port) as client:
            response = client.request(upgrade_request(target()))
        assert response.status == 501
        assert b"a middleware around RbkitWebsocket hides the web server's connection" in response.body
        assert b"puts support.apps.LimitedInput in the place of the server's wsgi.input" in response.body
        assert b"-k gevent" not in response.body
        assert web.get("/hello")
