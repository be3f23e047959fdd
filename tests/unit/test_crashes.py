"""The tests' own eye for crashes: a server that ends by one fails its test, whatever the test itself looks at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import support
from support.servers import WebServer, crash


@pytest.mark.parametrize(
    ("exit_code", "log", "words"),
    [
        (-signal.SIGSEGV, "", "the server was ended by SIGSEGV"),
        (-signal.SIGABRT, "", "the server was ended by SIGABRT"),
        (0, "[ERROR] Worker (pid:7) was sent SIGABRT!\n", "was sent SIGABRT"),
        (0, "Fatal Python error: Segmentation fault\n", "Fatal Python error: Segmentation fault"),
        (-signal.SIGKILL, "[ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?\n", ""),
        (-signal.SIGTERM, "Worker exiting\n", ""),
        (1, "Traceback (most recent call last):\n", ""),
    ],
)
def test_a_crash_is_told_from_every_other_end(exit_code: int, log: str, words: str) -> None:
    assert crash(exit_code, log) == words


def test_a_server_that_crashes_fails_its_test() -> None:
    program = "import signal; print('Listening at: http://127.0.0.1:9', flush=True); signal.pause()"
    web = WebServer([sys.executable, "-c", program], env={"TEST_CRASHES": None})  # no crash of the run's
    web.signal(signal.SIGSEGV)
    web.wait()
    with pytest.raises(AssertionError, match="SIGSEGV"):
        web.__exit__(None, None, None)


def test_an_interpreter_that_a_test_starts_tells_of_its_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "crashes"
    monkeypatch.setenv("TEST_CRASHES", str(told))
    at_start = (Path(__file__).parents[2] / ".ci" / "crashes.pth").read_text()
    program = f"{at_start}\nimport signal; print('Listening at: http://127.0.0.1:9', flush=True); signal.pause()"
    web = WebServer([sys.executable, "-c", program])
    web.signal(signal.SIGSEGV)
    web.wait()
    with pytest.raises(AssertionError, match="SIGSEGV"):
        web.__exit__(None, None, None)
    assert "Fatal Python error: Segmentation fault" in told.read_text()


def test_a_process_of_a_parallel_run_that_ends_is_told_to_ci(tmp_path: Path) -> None:
    (tmp_path / "test_end.py").write_text("import os\ndef test_end(): os._exit(0)\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    told = tmp_path / "crashes"
    pytest_run = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "1", "-p", "support.crashes", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=os.environ | {"TEST_CRASHES": str(told), "PYTHONPATH": str(Path(support.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert pytest_run.returncode == 1, pytest_run
    assert told.read_text() == "the process that ran test_end.py::test_end has ended\n"
