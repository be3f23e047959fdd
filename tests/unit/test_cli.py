"""The command line's options and errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

import rbkit_websocket
from rbkit_websocket import RbkitError
from rbkit_websocket.cli import gateway, main
from rbkit_websocket.cli.gateway import parse_bind
from rbkit_websocket.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("[::1]:0", ("::1", 0)),
        ("example.com:65535", ("example.com", 65535)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
    ],
)
def test_bind_takes_host_and_port(text, address):
    assert parse_bind(text) == address


@pytest.mark.parametrize("text", ["", "8000", ":8000", "h:", "h:x", "h:65536", "::1:80", "[::1]", "h:80 ", "a b:80"])
def test_bind_refuses_anything_else(text):
    with pytest.raises(ConfigurationError, match="--bind"):
        parse_bind(text)


def test_errors_of_this_package_are_one_line_and_code_1(monkeypatch):
    def fail(*args: object) -> None:
        raise RbkitError("it\x1b[2J\nbroke")

    monkeypatch.setattr(gateway, "parse_bind", fail)
    result = CliRunner().invoke(main, ["gateway"])
    assert (result.exit_code, result.output) == (1, "Error: it?[2J broke\n")


def test_any_other_error_stays_a_traceback(monkeypatch):
    def fail(*args: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(gateway, "parse_bind", fail)
    assert isinstance(CliRunner().invoke(main, ["gateway"]).exception, KeyError)


def test_version_and_help():
    assert CliRunner().invoke(main, ["--version"]).output == f"rbkit-websocket {rbkit_websocket.__version__}\n"
    listing = CliRunner().invoke(main, ["--help"]).output
    assert all(name in listing for name in ("demo", "gateway"))
    assert CliRunner().invoke(main, ["nothing"]).exit_code == 2


def test_the_command_line_loads_nothing_that_must_be_patched_first():
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import rbkit_websocket.cli.demo, rbkit_websocket.cli.gateway\n"
        "loaded = {'gevent', 'ssl', 'websocket', 'flask', 'zmq'} & set(sys.modules) - before\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bind", "nonsense"], "--bind"),
        (["--token", "abcdefgh", "--no-token"], "exclude each other"),
    ],
)
def test_gateway_refuses_wrong_options_before_it_serves(arguments, words):
    result = CliRunner().invoke(main, ["gateway", *arguments])
    assert result.exit_code == 1
    assert words in result.output
    assert result.output.count("\n") == 1


def test_demo_refuses_a_port_that_is_none():
    assert CliRunner().invoke(main, ["demo", "--port", "70000"]).exit_code == 2
