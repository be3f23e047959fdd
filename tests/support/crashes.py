"""A plugin of pytest: what has ended one of the processes of a parallel run is never forgiven in CI."""

from __future__ import annotations

import os

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str) -> None:
    """pytest-xdist has lost a worker, whatever ended it: a line in the file of ``TEST_CRASHES``."""
    if path := os.environ.get("TEST_CRASHES"):
        with open(path, "a") as crashes:
            crashes.write(f"the process that ran {crashitem} has ended\n")
