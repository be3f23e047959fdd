"""The dashboard's files over HTTP: what is served, with which headers, and what is not."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from rbkit_websocket import RbkitWebsocket
from rbkit_websocket.http.dashboard import bundle

SCRIPT = b"console.log('the dashboard');" * 40


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime_dir: Path) -> Iterator[Path]:
    """A bundle of our own in the place of the real one."""
    (tmp_path / "index.html").write_text("<!doctype html><script src=app.js></script>")
    (tmp_path / "app.js").write_bytes(SCRIPT)
    (tmp_path / "icon.svg").write_text("<svg/>")
    (tmp_path / "notes.txt").write_text("none of the bundle's kinds")
    (tmp_path / "folder.js").mkdir()
    monkeypatch.setattr(bundle, "FOLDER", tmp_path)
    return tmp_path


def ask(path: str, method: str = "GET", mount: str = "/__rbkit__", **headers: str) -> Answer:
    """One request to an application that answers 404 to everything of its own."""
    answer = Answer(0, {}, b"")

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("404 Not Found", [("X-From", "the application")])
        return [b""]

    def start_response(status: str, found: list[tuple[str, str]], exc_info: Any = None) -> None:
        answer.status, answer.headers = int(status.split()[0]), dict(found)

    environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    setup_testing_defaults(environ)
    # Somebody's Rbkit server elsewhere: none is started for these pages.
    endpoints = {"pub_endpoint": "tcp://127.0.0.1:1", "req_endpoint": "tcp://127.0.0.1:2"}
    wrapped = RbkitWebsocket(application, token="a-token-for-tests", mount=mount, **endpoints)
    answer.body = b"".join(wrapped(environ, start_response))
    return answer


def test_the_page_may_load_nothing_but_its_own_files(folder: Path) -> None:
    page = ask("/__rbkit__/")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data: blob:",
        "worker-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in page.headers


@pytest.mark.parametrize(
    ("name", "content_type"), [("app.js", "text/javascript; charset=utf-8"), ("icon.svg", "image/svg+xml")]
)
def test_files_have_their_types_and_lengths(folder: Path, name: str, content_type: str) -> None:
    found = ask(f"/__rbkit__/{name}")
    assert found.body == (folder / name).read_bytes()
    assert found.headers["Content-Type"] == content_type
    assert int(found.headers["Content-Length"]) == len(found.body)
    head = ask(f"/__rbkit__/{name}", method="HEAD")
    assert (head.status, head.headers, head.body) == (200, found.headers, b"")


def test_a_file_that_is_known_already_is_not_sent_again(folder: Path) -> None:
    etag = ask("/__rbkit__/app.js").headers["ETag"]
    assert etag.startswith('"'), "a strong one"
    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = ask("/__rbkit__/app.js", if_none_match=condition)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    assert ask("/__rbkit__/app.js", if_none_match='"other"').status == 200
    (folder / "app.js").write_bytes(b"changed")
    assert ask("/__rbkit__/app.js", if_none_match=etag).body == b"changed"


def test_it_is_zipped_for_who_takes_that(folder: Path) -> None:
    plain = ask("/__rbkit__/app.js", accept_encoding="br, gzip;q=0")
    assert "Content-Encoding" not in plain.headers
    zipped = ask("/__rbkit__/app.js", accept_encoding="br, gzip")
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == SCRIPT
    assert zipped.headers["Vary"] == "Accept-Encoding"
    assert zipped.headers["ETag"] != plain.headers["ETag"], "other bytes, another strong validator"
    assert ask("/__rbkit__/app.js", accept_encoding="gzip", if_none_match=zipped.headers["ETag"]).status == 304
    # What zipping would make longer stays as it is.
    assert "Content-Encoding" not in ask("/__rbkit__/icon.svg", accept_encoding="gzip").headers


@pytest.mark.parametrize(
    "path", ["notes.txt", "folder.js", "../app.py", "static/app.js", "app.js/", "%61pp.js", "index", ".htaccess"]
)
def test_nothing_but_the_bundles_files_is_served(folder: Path, path: str) -> None:
    assert ask(f"/__rbkit__/{path}").headers == {"X-From": "the application"}


def test_other_methods_are_refused(folder: Path) -> None:
    for path in ("", "/", "/app.js"):
        refused = ask(f"/__rbkit__{path}", method="POST")
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(("mount", "location"), [("/__rbkit__", "__rbkit__/"), ("/ops/live", "live/")])
def test_the_address_without_its_slash_leads_to_the_one_with_it(folder: Path, mount: str, location: str) -> None:
    found = ask(mount, mount=mount)
    # Relative, since a proxy may have put a prefix before it that nobody here knows of.
    assert (found.status, found.headers["Location"]) == (307, location)


def test_without_a_bundle_the_page_says_how_to_get_it(folder: Path) -> None:
    (folder / "index.html").unlink()
    page = ask("/__rbkit__/")
    assert page.status == 200
    assert b"RBKIT_DASHBOARD=require pip install ." in page.body
    assert b"<script" not in page.body
    assert ask("/__rbkit__/app.js").headers == {"X-From": "the application"}


def test_the_real_bundle_names_nothing_inline_and_no_other_host() -> None:
    if not bundle.names():
        pytest.skip("installed without its dashboard")
    page = bundle.asset("index.html").body.decode()
    assert "<style" not in page
    assert " style=" not in page
    assert "<script>" not in page
    assert "//" not in page.replace("<!doctype", "")
    for name in ("app.js", "app.css"):
        assert f'"{name}"' in page
        assert name in bundle.names()
