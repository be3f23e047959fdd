"""Every subcommand with standard streams that are closed, broken or full: an end in order, never a traceback."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from support.cliprocess import COMMAND
from support.waiting import scaled, wait_until

DEMO = ("demo", "--no-load", "--seconds", "1")
CLOSED = [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"]


def shell(arguments: tuple[str, ...], redirection: str, **options: object) -> subprocess.Popen[str]:
    command = f"exec {shlex.join([*COMMAND, *arguments])} {redirection}"
    return subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        **options,  # type: ignore[call-overload]
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    output, errors = process.communicate(timeout=scaled(30))
    return process.returncode, output, errors


@pytest.mark.parametrize("redirection", CLOSED)
@pytest.mark.parametrize("arguments", [DEMO, ("--help",), ("--version",), ("keygen", "--help")], ids=lambda a: a[0])
def test_closed_streams_are_as_good_as_the_null_device(
    runtime_dir: Path, arguments: tuple[str, ...], redirection: str
) -> None:
    code, _, errors = end(shell(arguments, redirection))
    assert (code, errors) == (0, "")


def test_keys_are_made_without_anybody_to_tell(tmp_path: Path) -> None:
    code, _, errors = end(shell(("keygen", "web1"), "<&- >&- 2>&-", cwd=tmp_path))
    assert (code, errors) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"web1.key", "web1.key_secret"}


@pytest.mark.parametrize("redirection", [">&-", "<&- >&- 2>&-"])
def test_a_gateway_serves_with_closed_streams_and_its_sockets_are_no_streams(
    runtime_dir: Path, redirection: str
) -> None:
    endpoints = ("--pub-endpoint", "tcp://127.0.0.1:9", "--req-endpoint", "tcp://127.0.0.1:8")
    with shell(("gateway", "--bind", "127.0.0.1:0", "--no-token", *endpoints), redirection) as process:
        found = psutil.Process(process.pid)
        wait_until(lambda: found.net_connections("tcp"), "the gateway to listen", timeout=20)
        for number in (0, 1, 2):
            if redirection != ">&-" or number == 1:
                assert os.readlink(f"/proc/{process.pid}/fd/{number}") == os.devnull
        process.send_signal(signal.SIGTERM)
        code, _, errors = end(process)
        assert code == 0
        assert "Traceback" not in errors


@pytest.mark.parametrize("arguments", [DEMO, ("--help",)], ids=lambda a: a[0])
def test_who_reads_may_be_gone(runtime_dir: Path, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = subprocess.run(
            [*COMMAND, *arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ,
            timeout=scaled(30),
            check=False,
        )
    finally:
        os.close(writer)
    assert process.stderr == ""
    assert process.returncode == 1


@pytest.mark.parametrize("arguments", [DEMO, ("--help",)], ids=lambda a: a[0])
def test_a_full_disk_is_told_in_words(runtime_dir: Path, arguments: tuple[str, ...]) -> None:
    code, _, errors = end(shell(arguments, ">/dev/full"))
    assert code != 0
    assert "Traceback" not in errors
    assert "No space left on device" in errors
