"""Python programs in a process of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import textwrap
from contextlib import suppress
from typing import Any

import psutil

from .waiting import scaled

TELL = signal.SIGRTMAX
"""Has each thread's stack written to standard error, where ``.ci/crashes.pth`` is installed; else it ends a process."""


def run(script: str, *arguments: str, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs ``python -c`` on a script, dedented, and returns its end with what it printed.

    Raises:
        AssertionError: it does not end; with what it and its children are doing.
    """
    # Python looks for modules in the working directory first, and a checkout's have no extension beside them.
    with tempfile.TemporaryDirectory() as directory:
        options = {"cwd": directory, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script), *arguments]
        with subprocess.Popen(command, text=True, **options) as process:
            try:
                output, errors = process.communicate(timeout=scaled(timeout))
            except subprocess.TimeoutExpired:
                kill_and_tell(process)
                raise AssertionError("it does not end:\n{}\n{}".format(*process.communicate())) from None
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)


def kill_and_tell(process: subprocess.Popen[str]) -> None:
    """Ends a process that hangs, with its children. Before, each writes to standard error where it hangs."""
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(TELL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(2)  # nothing tells that a stack has been written
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
