"""A plugin of pytest: tests that dump or walk the whole heap of their process get one of their own in a large run.

A process that has collected thousands of tests has half a million objects of pytest's, and a test that keeps what it
has read adds a few for each. A walk over them takes seconds, and in Python, beside coverage, minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

MANY: Final = 300
"""A run of so many tests is a large one."""

# Not the working directory, where a checkout's sources are, which have no extensions beside them.
_PYTEST: Final = "import sys; sys.path[:] = filter(None, sys.path); import pytest; sys.exit(pytest.main())"
# Without what the fixtures of a test change.
_environment: dict[str, str] = {}


def pytest_collection_finish() -> None:
    """Keeps the environment of the run."""
    _environment.update(os.environ)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is marked ``small_heap`` by a pytest of its own; None: pytest runs it as every other one."""
    if pyfuncitem.get_closest_marker("small_heap") is None or len(pyfuncitem.session.items) < MANY:
        return None
    done = subprocess.run(
        [sys.executable, "-c", _PYTEST, "-q", "-p", "no:cacheprovider", "-m", "", pyfuncitem.nodeid],
        cwd=pyfuncitem.config.rootpath,
        env=_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"in a process of its own, exit {done.returncode}:\n{done.stdout}", pytrace=False)
    return True
