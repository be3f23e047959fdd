"""How much one may ask for: sessions, waiting commands, time; and what refuses what is beyond."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.rawclient import RawClient, upgrade_request
from support.waiting import scaled, wait_until

from .conftest import Fleet, Site, in_use, target


@pytest.fixture(scope="session")
def capped_site(server_name: str, fleet: Fleet) -> Site:
    return fleet.site(
        server_name,
        RBKIT_MAX_SESSIONS="2",
        RBKIT_MAX_COMMANDS="4",
        RBKIT_COMMAND_TIMEOUT="0.4",
        RBKIT_MAX_MESSAGE="200",
    )


@pytest.fixture
def capped(capped_site: Site) -> Iterator[Site]:
    """A site with narrow bounds."""
    with in_use(capped_site):
        yield capped_site


def test_sessions_beyond_the_cap_are_refused_with_503(capped: Site) -> None:
    with capped.raw() as first, capped.raw() as second:
        assert first.command("ping") == second.command("ping") == b"ok"
        with RawClient(capped.web.port) as third:
            response = third.request(upgrade_request(target()))
            assert response.status == 503
            assert int(response.headers["retry-after"]) > 0
            assert b"max_sessions" in response.body
        with RawClient(capped.web.port) as nobody:
            assert nobody.request(upgrade_request("/")).status == 401, "the token is judged before the cap"
        assert b"hello" in capped.web.get("/hello")
        second.close()

        def accepted() -> bool:
            with RawClient(capped.web.port) as client:
                return client.request(upgrade_request(target())).status == 101

        wait_until(accepted, "room for another session")
        assert first.command("ping") == b"ok"


def test_a_refused_session_takes_no_place(capped: Site) -> None:
    for _ in range(5):
        with RawClient(capped.web.port) as client:
            assert client.request(upgrade_request("/?token=wrong")).status == 401
    with capped.raw() as first, capped.raw() as second:
        assert first.command("ping") == second.command("ping") == b"ok"


def test_too_many_waiting_commands_are_closed_with_1008(capped: Site) -> None:
    capped.rbkit.silent = True
    with capped.raw() as client:
        begin = time.monotonic()
        for _ in range(8):
            client.send_text("ping")
        closing = client.closing()
        assert closing.close_code == 1008
        assert "4 commands" in closing.close_reason
        assert time.monotonic() - begin < scaled(0.4)


def test_as_many_commands_as_fit_are_answered(capped: Site) -> None:
    capped.rbkit.delay = 0.02
    with capped.raw() as client:
        for number in range(4):
            client.send_text(f"standin echo {number}")
        assert [client.answer() for _ in range(4)] == [b"0", b"1", b"2", b"3"]


def test_a_command_without_an_answer_is_closed_with_1011(capped: Site) -> None:
    capped.rbkit.silent = True
    with capped.raw() as client, capped.raw() as other:
        begin = time.monotonic()
        client.send_text("objectspace_snapshot")
        closing = client.closing()
        assert 0.3 < time.monotonic() - begin < scaled(1)
        assert closing.close_code == 1011
        assert "objectspace_snapshot" in closing.close_reason
        capped.rbkit.silent = False
        assert other.command("standin echo fine") == b"fine"


def test_a_late_answer_goes_to_nobody(capped: Site) -> None:
    capped.rbkit.delay = 0.6
    with capped.raw() as client:
        client.send_text("standin echo late")
        assert client.closing().close_code == 1011
    capped.rbkit.delay = 0.0
    with capped.raw() as client:
        assert client.command("standin echo mine") == b"mine"


def test_the_size_of_a_message_is_an_option(capped: Site) -> None:
    with capped.raw() as client:
        client.send_frame(1, b"x" * 200)
        assert client.answer() == b"ok"
        client.send_frame(1, b"x" * 201)
        assert client.closing().close_code == 1009
