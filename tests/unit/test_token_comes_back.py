"""A worker that starts while the token's file is away waits for its siblings, who hold the token, to put it back."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.waiting import scaled

from rbkit_websocket.fleet import records
from rbkit_websocket.fleet.liveness import process_start
from rbkit_websocket.fleet.records import Record
from rbkit_websocket.fleet.tokenfile import generated_token
from rbkit_websocket.http.access import Access
from rbkit_websocket.options.table import Settings

APP = "shop"
HELD = "what-the-siblings-hold"


@pytest.fixture
def directory(runtime_dir: Path) -> Path:
    return records.runtime_directory(str(runtime_dir))


@pytest.fixture
def sibling(directory: Path) -> Iterator[Record]:
    """The record of another process that lives."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    server_id = f"{child.pid}-00000000"
    own = Record.of_this_process(server_id, APP, f"unix://{records.socket_path(directory, APP, server_id)}")
    record = replace(own, pid=child.pid, process_started=process_start(child.pid))
    record.write(directory)
    yield record
    child.communicate(b"\n")


def access(directory: Path) -> Access:
    return Access(Settings.from_options(name=APP, runtime_dir=str(directory)))


@pytest.mark.usefixtures("sibling")
def test_a_siblings_token_is_waited_for(directory: Path) -> None:
    back = threading.Timer(0.3, generated_token, (directory, APP, HELD))
    back.start()
    try:
        gate = access(directory).gate()
    finally:
        back.join()
    assert gate.is_token(HELD)


@pytest.mark.usefixtures("sibling")
def test_a_sibling_that_holds_no_token_is_not_waited_for_long(
    directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    gate = access(directory).gate()
    assert 1 < time.monotonic() - began < scaled(5)
    assert not gate.is_token(HELD)
    assert "watch this application at" in capfd.readouterr().err


def test_the_first_of_all_workers_does_not_wait(directory: Path) -> None:
    began = time.monotonic()
    access(directory).gate()
    assert time.monotonic() - began < 1
