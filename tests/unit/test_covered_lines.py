"""The lines that run in an interpreter of a test are told to CI, those of the package alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / ".ci"

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring"),
    pytest.mark.skipif(not TOOLS.exists(), reason="needs .ci, which source distributions do not have"),
]

PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
import covered_lines
sys.path.pop(0)
from rbkit_websocket.errors import _harmless
_harmless("x")
if os.fork():
    os.wait()
else:
    _harmless("\\n")
"""


def test_every_process_tells_the_lines_that_have_run(tmp_path: Path) -> None:
    # Without what a measured run has installed, which would come first.
    environment = {name: value for name, value in os.environ.items() if name != "TEST_COVERED"}
    program = f"import os; os.environ['TEST_COVERED'] = {str(tmp_path)!r}\n{PROGRAM}"
    subprocess.run([sys.executable, "-c", program, str(TOOLS)], env=environment, check=True)
    told = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert len(told) == 2, "the process and its child"
    assert all("/rbkit_websocket/" in path for lines in told for path in lines), "of the package alone"
    bodies = []
    for lines in told:
        (path,) = [path for path in lines if path.endswith("/rbkit_websocket/errors.py")]
        text = Path(path).read_text().splitlines()
        bodies.append({text[line - 1].strip() for line in lines[path]})
    assert all("return text" in body and "class RbkitError(Exception):" in body for body in bodies)
    assert sorted('return "".join(' in body for body in bodies) == [False, True], "a child tells its own lines"
