"""Which lines of the package have run, in every interpreter that a test starts: installed beside ``covered_lines.pth``.

``TEST_COVERED`` names a folder; each process leaves a file there as it ends: ``{path: [line, ...]}`` in JSON.
``.ci/add_coverage.py`` adds them up for coverage.py, which reports.

A thousand servers are started in a run, and coverage.py costs each a third of a second to be imported and more for all
the code it is not asked about. Here an interpreter has lines of the package's own code told, once each, and nothing
else is slower by anything (``sys.monitoring``, Python 3.12 and later).
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

PACKAGE = "rbkit_websocket"
TOLD_IN = os.environ["TEST_COVERED"]

monitoring = sys.monitoring
TOOL = monitoring.COVERAGE_ID
lines: dict[str, set[int]] = {}


def ran(code: CodeType, line: int) -> object:
    """A line is about to run: it need not be told again."""
    lines.setdefault(code.co_filename, set()).add(line)
    return monitoring.DISABLE


def watch(code: CodeType) -> None:
    """Has the lines of a module's code told, and of all functions and classes in it."""
    monitoring.set_local_events(TOOL, code, monitoring.events.LINE)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            watch(constant)


class Loader(SourceFileLoader):
    """Loads a module of the package."""

    def get_code(self, fullname: str) -> CodeType | None:
        code = super().get_code(fullname)
        if code is not None:
            watch(code)
        return code


class Finder:
    """Finds modules of the package, before any other finder."""

    @staticmethod
    def find_spec(name: str, path: list[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] != PACKAGE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def tell() -> None:
    """Writes what has run. A process without descriptors or disk says nothing: tests have made it so."""
    if not lines:
        return
    import json  # late: a program may be asked what it has imported

    path = os.path.join(TOLD_IN, f"{os.getpid()}-{os.urandom(4).hex()}")
    with suppress(OSError):
        with open(path, "w") as file:
            json.dump({name: sorted(found) for name, found in list(lines.items())}, file)
        os.rename(path, f"{path}.json")  # a process may be killed while it writes


def begin() -> None:
    """Begins, unless another tool measures coverage."""
    try:
        monitoring.use_tool_id(TOOL, "covered_lines")
    except ValueError:
        return
    monitoring.register_callback(TOOL, monitoring.events.LINE, ran)
    sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]
    atexit.register(tell)


begin()
