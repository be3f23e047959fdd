"""Web servers that live as long as the session, each in front of a stand-in Rbkit server of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from support.rawclient import RawClient, RbkitConnection, connect_rbkit
from support.servers import ALL, SELF_REFUSING, SERVERS, TOKEN, UNSUPPORTED, WebServer
from support.standin import StandIn


@dataclass(frozen=True)
class Site:
    """A web server and the stand-in behind it."""

    web: WebServer
    rbkit: StandIn

    def connect(self, path: str = "/", **query: str) -> AbstractContextManager[RbkitConnection]:
        """A session over the ``websockets`` package."""
        return connect_rbkit(self.web.url(path, **query), token=TOKEN)

    @contextmanager
    def raw(self, path: str = "/", *, receive_buffer: int | None = None, **query: str) -> Iterator[RawClient]:
        """A session over a raw socket."""
        with RawClient(self.web.port, receive_buffer=receive_buffer) as client:
            client.upgrade(target(path, **query))
            yield client

    def settled(self) -> None:
        """Waits until every session has ended, as the stand-in sees it."""
        self.rbkit.wait_for_subscribers(0)


def target(path: str = "/", **query: str) -> str:
    """Path and query with the token."""
    return path + "?" + "&".join(f"{key}={value}" for key, value in {"token": TOKEN, **query}.items())


def endpoints(rbkit: Any) -> dict[str, str | None]:
    """The environment that points the middleware to an Rbkit server."""
    return {"RBKIT_PUB_ENDPOINT": rbkit.pub_endpoint, "RBKIT_REQ_ENDPOINT": rbkit.req_endpoint}


class Fleet:
    """Starts each kind of site once, when it is first asked for; all end together."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._sites: dict[tuple[Any, ...], Site] = {}

    def site(self, server: str, app: str = "flask", **env: str) -> Site:
        """The site of that kind; ``env`` are options of the middleware."""
        key = (server, app, *sorted(env.items()))
        if key not in self._sites:
            rbkit = self._stack.enter_context(StandIn())
            web = self._stack.enter_context(ALL[server](app, env={**endpoints(rbkit), **env}))
            self._sites[key] = Site(web, rbkit)
        return self._sites[key]

    def close(self) -> None:
        for site in self._sites.values():
            site.web.terminate()  # all at once: gunicorn takes a second for it
        self._stack.close()


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """All sites of this run."""
    fleet = Fleet()
    yield fleet
    fleet.close()


@contextmanager
def in_use(site: Site) -> Iterator[Site]:
    """A site for one test: as new before, without sessions and tracebacks after."""
    site.rbkit.commands.clear()
    site.rbkit.delay = 0.0
    site.rbkit.silent = False
    said = len(site.web.log())
    yield site
    site.settled()
    log = site.web.log()[said:]
    assert "Traceback" not in log, log
    assert site.web.process.poll() is None, log


@pytest.fixture(scope="session", params=SERVERS)
def server_name(request: pytest.FixtureRequest) -> str:
    """Each web server whose sockets can be taken over."""
    return request.param


@pytest.fixture(scope="session")
def flask_site(server_name: str, fleet: Fleet) -> Site:
    return fleet.site(server_name, "flask")


@pytest.fixture
def site(flask_site: Site) -> Iterator[Site]:
    """Flask under each server."""
    with in_use(flask_site):
        yield flask_site


LAUNCHERS = {**ALL, **UNSUPPORTED, **SELF_REFUSING}


@pytest.fixture(scope="session", params=LAUNCHERS)
def any_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, WebServer]]:
    """Each server of the tests by its name, those that refuse all upgrades too."""
    # Some write a traceback for what is no HTTP, whoever is asked.
    with LAUNCHERS[request.param](check_log=False) as web:
        yield request.param, web


@pytest.fixture(scope="session", params=["flask", "django"])
def framework(request: pytest.FixtureRequest) -> str:
    """Each framework."""
    return request.param


@pytest.fixture(scope="session")
def framework_site(server_name: str, framework: str, fleet: Fleet) -> Site:
    return fleet.site(server_name, framework)


@pytest.fixture
def any_site(framework_site: Site) -> Iterator[Site]:
    """Flask and Django under each server."""
    with in_use(framework_site):
        yield framework_site
