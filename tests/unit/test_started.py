"""What a process runs, told in any interpreter; and one that a program has embedded is served as any other."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.embeddedpeer import Peer

from rbkit_websocket.system.started import command_line, process_name, title


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/srv/bin/gunicorn", "shop:app"], "gunicorn"),
        (["/venv/site-packages/gunicorn/__main__.py"], "gunicorn"),
        (["app.py"], "app.py"),
        (["-c", "x"], "python3.99"),
        ([""], "python3.99"),
        ([], "python3.99"),
        ([None], "python3.99"),
        (None, "python3.99"),
    ],
)
def test_a_process_has_a_name_whatever_there_is_of_a_command_line(
    monkeypatch: pytest.MonkeyPatch, argv: list[str] | None, name: str
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.99")
    monkeypatch.setattr(sys, "argv", argv)
    assert process_name() == name
    monkeypatch.delattr(sys, "executable")
    assert process_name() in (name, "python")


def test_without_a_command_line_there_are_no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "orig_argv")
    assert command_line() == []


EMBEDDED = """
    import os, sys, tempfile
    gone = tempfile.mkdtemp()
    os.chdir(gone)
    os.rmdir(gone)
    for name in ("argv", "orig_argv", "stdin", "stdout", "ps1"):
        if hasattr(sys, name):
            delattr(sys, name)
    sys.__dict__.update(executable=None, {stderr})
    for name in ("HOME", "USER", "LOGNAME", "PATH", "LANG"):
        os.environ.pop(name, None)
    del sys.modules["__main__"]

    from rbkit_websocket import RbkitWebsocket, start_server, stop_server
    from rbkit_websocket.options.table import Settings
    from rbkit_websocket.server import ensure_embedded

    assert stop_server() is False
    app = RbkitWebsocket(lambda environ, start_response: [b"the application's"])
    environ = {{"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": "http"}}
    assert app(environ, print) == [b"the application's"]
    assert start_server(None, None) is False
    address = ensure_embedded(Settings.from_options())
    os.write(1, f"{{address.endpoint}}\\n".encode())
    os.read(0, 1)
"""


@pytest.mark.parametrize(
    "stderr",
    ["stderr=None", "stderr=open('/dev/full', 'w')", "stderr=open(os.devnull, 'w')); sys.stderr.close("],
    ids=["none", "full", "closed"],
)
def test_an_interpreter_without_arguments_streams_directory_and_home_is_served(runtime_dir: Path, stderr: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(EMBEDDED.format(stderr=stderr))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        assert line, process.stderr.read()
        with Peer.at(line.strip()) as peer:
            handshake = peer.handshake()
            assert handshake["pid"] == process.pid
            assert handshake["process_name"] == "python"
            assert peer.map("status")["pid"] == process.pid
            assert peer.map("stacks")["threads"]
            assert peer.ask("trigger_gc") == b"ok"
        process.stdin.close()
        assert process.wait(20) in (0, 120)  # 120: what the program has written itself could not be flushed


@pytest.mark.parametrize(
    ("argv", "environ", "name"),
    [
        (["/venv/bin/gunicorn", "-b", "127.0.0.1:8000", "-k", "gevent", "shop:app"], {}, "shop:app"),
        (["/venv/bin/waitress-serve", "--port=80", "--call", "shop:create_app"], {}, "shop:create_app"),
        (["/venv/bin/flask", "--app", "shop", "run"], {}, "shop"),
        (["/venv/bin/flask", "--app=shop:make()", "run"], {}, "shop:make()"),
        (["/venv/bin/flask", "run"], {"FLASK_APP": "/srv/shop.py"}, "shop.py"),
        (["/venv/bin/flask", "run"], {}, "flask run"),
        (["manage.py", "--traceback", "runserver", "0:8000"], {}, "manage.py runserver"),
        (["/srv/app.py", "127.0.0.1:80"], {}, "app.py"),
        (["/venv/bin/serve-shop"], {}, "serve-shop"),
        (["-c"], {}, "shop.wsgi"),
        (["mod_wsgi"], {}, "shop.wsgi"),
        ([], {}, "shop.wsgi"),
        (["/srv/a\x1b[31m.py"], {}, "a[31m.py"),
    ],
)
def test_an_application_is_called_what_stands_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], environ: dict[str, str], name: str
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.delitem(sys.modules, "__main__")
    monkeypatch.delenv("FLASK_APP", raising=False)
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    assert title("shop.wsgi") == name
    monkeypatch.setattr(sys, "argv", [])
    assert title("__main__") == process_name()
