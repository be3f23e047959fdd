"""The package in a zip file, as zipapps carry it: it serves, and says what such a file cannot hold."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest
from support.rawclient import connect_rbkit
from support.servers import SERVERS, TOKEN

import rbkit_websocket
from rbkit_websocket.http.dashboard import bundle
from rbkit_websocket.protocol.messages import decode_answer

PACKAGE = Path(rbkit_websocket.__file__).parent


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "app.pyz"
    with zipfile.ZipFile(path, "w") as file:
        for found in PACKAGE.rglob("*"):
            if found.is_file() and "__pycache__" not in found.parts:
                file.write(found, f"rbkit_websocket/{found.relative_to(PACKAGE).as_posix()}")
    return path


def test_a_package_in_a_zip_serves_and_says_why_it_has_no_extension(archive: Path) -> None:
    # Before the installed one, as the zip of a zipapp is.
    with SERVERS["pywsgi"]("plain", env={"PYTHONPATH": f"{archive}:{Path(__file__).parents[1]}"}) as web:
        facts = json.loads(web.get("/facts"))
        assert facts["pid"] == web.pid
        page = web.get("/__rbkit__/")
        if bundle.names():
            assert page == bundle.asset("index.html").body
        with connect_rbkit(web.url("/"), token=TOKEN) as client:
            answer = decode_answer(client.command("handshake"))
            assert isinstance(answer, dict)
            if sys.platform == "linux":
                assert "zip file" in answer["payload"]["native"]
                assert "zip file" in answer["payload"]["heap_snapshot"]
            assert client.command("start_cpu_profiling") == b"ok"
            assert "not built" not in str(answer["payload"])
