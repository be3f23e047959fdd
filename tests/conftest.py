"""Fixtures for every test, and the check that each leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import leaks
from support.crashes import pytest_handlecrashitem
from support.distribution import pytest_xdist_make_scheduler
from support.servers import is_option
from support.smallheap import pytest_collection_finish, pytest_pyfunc_call
from support.standin import RECORDINGS, StandIn
from support.waiting import scaled

__all__ = [
    "pytest_collection_finish",
    "pytest_handlecrashitem",
    "pytest_pyfunc_call",
    "pytest_xdist_make_scheduler",
]


def pytest_configure() -> None:
    # A shell without job control starts what is in its background with SIGINT ignored, which servers would inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Programs that tests start with -c or -m would take the sources of a checkout, which have no extensions beside
    # them, for the package under test (Python 3.11 and later heed this).
    os.environ["PYTHONSAFEPATH"] = "1"


def pytest_sessionfinish() -> None:
    # What ends a parallel run does not wait long for its processes: a late word about covered lines would be lost.
    if (covered := sys.modules.get("covered_lines")) is not None:
        covered.tell()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # What ends a test that hangs, stretched as every deadline within it is.
    usual = float(config.getini("timeout"))
    for item in items:
        marker = item.get_closest_marker("timeout")
        seconds = marker.args[0] if marker is not None else usual
        item.add_marker(pytest.mark.timeout(max(2, scaled(1)) * seconds), append=False)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option of the middleware comes from the environment of whoever runs the tests."""
    for variable in list(os.environ):
        if is_option(variable):
            monkeypatch.delenv(variable)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest, clean_environment: None) -> Iterator[None]:
    """Fails a test after which greenlets, threads, descriptors, ZeroMQ sockets, processes or profilers are left."""
    before = leaks.take()
    yield
    found = leaks.check(before)
    assert not found, "the test left behind:\n  " + "\n  ".join(found)


@pytest.fixture
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private runtime directory whose path is short enough for Unix sockets, set in the environment."""
    path = Path(tempfile.mkdtemp(prefix="rbt", dir="/tmp"))
    monkeypatch.setenv("RBKIT_RUNTIME_DIR", str(path))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A stand-in Rbkit server in a thread of the test's process."""
    with StandIn() as server:
        yield server


@pytest.fixture(params=sorted(RECORDINGS))
def recording(request: pytest.FixtureRequest) -> bytes:
    """Each message that a real Rbkit server published."""
    return RECORDINGS[request.param]
