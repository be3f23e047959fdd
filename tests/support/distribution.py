"""A plugin of pytest: a parallel run gives all tests of a file to one process, and all that drive a browser to one.

The servers that a file's tests share are then started once, not once a process, and two Chromiums never fight for the
same processors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

__all__ = ["pytest_xdist_make_scheduler", "share_of"]


def share_of(nodeid: str) -> str:
    """What the test of a node id is run together with."""
    path = nodeid.partition("::")[0]
    return "browser" if path.startswith("tests/browser/") else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """The scheduler of the run, unless another has been asked for with ``--dist``."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return share_of(nodeid)

    # In order of collection: the slowest come first, so that no process is left with them in the end.
    config.option.loadscopereorder = False
    return ByFile(config, log)
