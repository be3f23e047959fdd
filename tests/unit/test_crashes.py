"""The tests' own eye for crashes: a server that ends by one fails its test, whatever the test itself looks at."""

from __future__ import annotations

import signal
import sys

import pytest
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
    web = WebServer([sys.executable, "-c", program])
    web.signal(signal.SIGSEGV)
    web.wait()
    with pytest.raises(AssertionError, match="SIGSEGV"):
        web.__exit__(None, None, None)
