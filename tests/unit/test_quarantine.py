"""What may be tried once more in CI: tests with a date and a reason, and no others."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci" / "quarantine.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="needs .ci, which source distributions do not have")


@pytest.fixture(scope="module")
def quarantine() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quarantine", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_entry_names_a_test_that_exists(quarantine: ModuleType) -> None:
    today = date.today()
    for entry in quarantine.read(quarantine.QUARANTINE.read_text()):
        path, _, name = entry.test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(), entry
        assert entry.since <= today, entry
        assert len(entry.reason) > 20, f"a reason that others understand: {entry}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tests/a.py::test_b | 2026-11-29\n", "not 'TEST | DATE | REASON'"),
        ("tests/a.py::test_b | 2026-11-29 | \n", "not 'TEST | DATE | REASON'"),
        ("tests/a.py::test_b | yesterday | it is slow\n", "Invalid isoformat"),
        ("tests/a.py::test_b | 2026-11-29 | it is slow\n" * 11, "at most 10"),
    ],
)
def test_a_bad_file_is_refused(quarantine: ModuleType, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quarantine.read(text)


@pytest.mark.parametrize(
    ("failed", "exit_code", "words"),
    [
        (["tests/a.py::test_b[one-two]", "tests/a.py::test_b"], 0, "2 that failed are in quarantine, which has 1 of"),
        (["tests/a.py::test_b", "tests/a.py::test_c[x]"], 1, "not in quarantine:\n  tests/a.py::test_c[x]\n"),
        ([], 1, "nothing is tried again"),
        (None, 1, "nothing is tried again"),
    ],
)
def test_nothing_is_tried_again_that_is_not_in_quarantine(
    tmp_path: Path, failed: list[str] | None, exit_code: int, words: str
) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / "tests").mkdir()
    script = tmp_path / ".ci" / "quarantine.py"
    script.write_text(SCRIPT.read_text())
    (tmp_path / "tests" / "quarantine.txt").write_text("# none\n\ntests/a.py::test_b | 2026-11-29 | it is slow\n")
    if failed is not None:
        cache = tmp_path / ".pytest_cache" / "v" / "cache"
        cache.mkdir(parents=True)
        (cache / "lastfailed").write_text(json.dumps(dict.fromkeys(failed, True)))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, words in done.stdout + done.stderr) == (exit_code, True), done
