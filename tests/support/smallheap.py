"""A plugin of pytest: tests that dump or walk the whole heap of their process get one of their own in a large run.

A process that has collected thousands of tests has half a million objects of pytest's, and a test that keeps what it
has read adds a few for each. A walk over them takes seconds, and in Python, beside coverage, minutes.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

MANY = 300
"""A run of so many tests is a large one."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is marked ``small_heap`` by a pytest of its own; None: pytest runs it as every other one."""
    if pyfuncitem.get_closest_marker("small_heap") is None or len(pyfuncitem.session.items) < MANY:
        return None
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "", pyfuncitem.nodeid],
        cwd=pyfuncitem.config.rootpath,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"in a process of its own, exit {done.returncode}:\n{done.stdout}", pytrace=False)
    return True
