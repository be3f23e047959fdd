"""What cleans temporary directories takes the files of running workers away: they put back what they hold."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from support import gunicorn_started
from support.rawclient import connect_rbkit
from support.servers import ALL, WebServer
from support.standin import StandIn
from support.waiting import wait_until

from rbkit_websocket.protocol.messages import decode_answer

pytestmark = pytest.mark.long

STARTED = ["--config", gunicorn_started.__file__]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """The runtime directory, in a place of its own, short enough for sockets."""
    path = Path(f"/tmp/rbc{os.getpid()}")
    path.mkdir(mode=0o700)
    yield path / "rbkit"
    shutil.rmtree(path)


@contextmanager
def workers(place: Path, server: str = "gunicorn-gevent", count: int = 3) -> Iterator[WebServer]:
    env = {"RBKIT_TOKEN": None, "RBKIT_NAME": "shop", "RBKIT_RUNTIME_DIR": str(place)}
    with ALL[server](workers=count, options=STARTED, env=env) as web:
        wait_until(lambda: len(records(place)) == count, "all records", timeout=20)
        yield web


def records(place: Path) -> dict[int, str]:
    """Ids of the records on disk by pid."""
    found = [json.loads(path.read_text()) for path in place.glob("*.json")]
    return {record["pid"]: record["id"] for record in found}


def token_file(place: Path) -> Path | None:
    return next(place.glob("*.token"), None)


def status(web: WebServer, token: str) -> int:
    """Of one request for the list, on a connection of its own: of whichever worker takes it."""
    try:
        web.get("/__rbkit__/servers", headers={"Authorization": f"Bearer {token}"})
    except HTTPError as error:
        with error:
            return error.code
    return 200


def listing(web: WebServer, token: str) -> list[dict[str, Any]]:
    body = web.get("/__rbkit__/servers", headers={"Authorization": f"Bearer {token}"})
    return json.loads(body)["servers"]


def remove(pattern: str) -> Callable[[Path], None]:
    def clean(place: Path) -> None:
        for path in place.glob(pattern):
            path.unlink()

    return clean


def remove_sockets(place: Path) -> None:
    for path in place.iterdir():
        if path.is_socket():
            path.unlink()


def made_by_another(place: Path) -> None:
    shutil.rmtree(place)
    place.mkdir(mode=0o700)
    (place / "somebody").write_text("else's")


CLEANERS: dict[str, Callable[[Path], None]] = {
    "token": remove("*.token"),
    "records": remove("*.json"),
    "sockets": remove_sockets,
    "files but sockets": lambda place: (remove("*.token")(place), remove("*.json")(place))[0],
    "everything": remove("*"),
    "the directory": lambda place: shutil.rmtree(place),
    "the directory above it": lambda place: (shutil.rmtree(place.parent), place.parent.mkdir(mode=0o700))[0],
    "a directory made by another": made_by_another,
}


@pytest.mark.parametrize("clean", CLEANERS.values(), ids=CLEANERS)
def test_what_a_cleaner_removes_comes_back_and_every_worker_lets_the_same_in(
    place: Path, clean: Callable[[Path], None]
) -> None:
    with workers(place) as web:
        file = token_file(place)
        assert file is not None
        token = file.read_text()
        before = records(place)

        clean(place)
        # Nobody asks for anything meanwhile.
        wait_until(lambda: file.exists() and file.read_text() == token, "the same token in the same file", timeout=10)
        wait_until(lambda: set(records(place)) == set(before), "all records again", timeout=10)
        assert file.stat().st_mode & 0o777 == 0o600
        if clean in (CLEANERS["token"], CLEANERS["records"], CLEANERS["files but sockets"]):
            assert records(place) == before, "whoever was chosen by its id still is"

        # One that starts now agrees with those that were there.
        victim = web.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        pids = wait_until(
            lambda: (found := web.worker_pids()) != sorted(before) and len(found) == 3 and found, "another"
        )
        wait_until(lambda: {entry["pid"] for entry in listing(web, token)} == set(pids), "the three listed", timeout=20)
        assert [status(web, token) for _ in range(24)] == [200] * 24
        for entry in listing(web, token):
            with connect_rbkit(web.url("/", server=entry["id"]), token=token) as client:
                answer = decode_answer(client.command("handshake"))
                assert isinstance(answer, dict)
                assert answer["payload"]["pid"] == entry["pid"]
        assert web.log().count("watch this application at") == 1


@pytest.mark.parametrize("server", ["gunicorn-gevent", "gunicorn-gthread"])
def test_another_token_in_the_file_is_everybodys_at_once(place: Path, server: str) -> None:
    with workers(place, server) as web:
        file = token_file(place)
        assert file is not None
        old, new = file.read_text(), "another-token-by-hand"
        draft = place / "draft"
        draft.touch(mode=0o600)
        draft.write_text(new)
        draft.rename(file)
        assert [status(web, new) for _ in range(12)] == [200] * 12
        assert [status(web, old) for _ in range(12)] == [401] * 12


@pytest.mark.parametrize("damage", ["", "open to others", "directory"])
def test_a_token_file_that_is_spoilt_while_workers_run_shuts_nobody_out(place: Path, damage: str) -> None:
    with workers(place, count=2) as web:
        file = token_file(place)
        assert file is not None
        token = file.read_text()
        if damage == "directory":
            file.unlink()
            file.mkdir()
        elif damage:
            file.chmod(0o644)
        else:
            file.write_text("")
        assert [status(web, token) for _ in range(12)] == [200] * 12


def test_workers_without_a_server_of_their_own_put_the_token_back_too(place: Path) -> None:
    with StandIn() as ruby:
        env = {
            "RBKIT_PUB_ENDPOINT": ruby.pub_endpoint,
            "RBKIT_REQ_ENDPOINT": ruby.req_endpoint,
            "RBKIT_TOKEN": None,
            "RBKIT_RUNTIME_DIR": str(place),
        }
        with ALL["gunicorn-gthread"](env=env) as web:
            web.get("/hello")
            file = wait_until(lambda: place.exists() and token_file(place), "the token")
            token = file.read_text()
            file.unlink()

            def asked() -> bool:
                web.get("/hello")
                return file.exists()

            wait_until(asked, "the file to be put back by requests of the application", timeout=10)
            assert file.read_text() == token
            assert [status(web, token) for _ in range(12)] == [200] * 12


def test_a_gateway_puts_its_token_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.cliprocess import running

    monkeypatch.setenv("RBKIT_RUNTIME_DIR", str(place))
    with StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as ruby:
        options = ("--pub-endpoint", ruby.pub_endpoint, "--req-endpoint", ruby.req_endpoint)
        with running("gateway", "--bind", "127.0.0.1:0", *options) as process:
            assert process.url
            file = token_file(place)
            assert file is not None
            token = file.read_text()
            shutil.rmtree(place)
            wait_until(lambda: file.exists() and file.read_text() == token, "the file to be put back")
