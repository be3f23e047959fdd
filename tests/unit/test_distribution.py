"""How a parallel run of the tests is shared out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.distribution import share_of


@pytest.mark.parametrize(
    ("nodeid", "share"),
    [
        ("tests/unit/test_packing.py::test_a[x::y]", "tests/unit/test_packing.py"),
        ("tests/servers/test_head.py::TestA::test_b", "tests/servers/test_head.py"),
        ("tests/browser/test_dashboard.py::test_a", "browser"),
        ("tests/browser/test_long_session.py::test_b", "browser"),
    ],
)
def test_a_file_and_the_browser_have_one_process(nodeid: str, share: str) -> None:
    assert share_of(nodeid) == share


@pytest.mark.parametrize(("options", "processes"), [([], 1), (["--dist", "each"], 2)])
def test_pytest_asks_for_the_shares(tmp_path: Path, options: list[str], processes: int) -> None:
    (tmp_path / "conftest.py").write_text("from support.distribution import pytest_xdist_make_scheduler\n")
    names = tmp_path / "names"
    (tmp_path / "test_it.py").write_text(
        "import os, pathlib, pytest\n"
        "@pytest.mark.parametrize('number', range(8))\n"
        "def test_it(number):\n"
        f"    with pathlib.Path({str(names)!r}).open('a') as file:\n"
        "        file.write(os.environ['PYTEST_XDIST_WORKER'] + '\\n')\n"
    )
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {Path(__file__).parents[1]}\n")
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "2", *options], cwd=tmp_path, check=True)
    assert len(set(names.read_text().split())) == processes
