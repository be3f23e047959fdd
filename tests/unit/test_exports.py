"""The public names resolve, and importing the package has no side effect."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rbkit_websocket
from rbkit_websocket import errors


@pytest.mark.smoke
@pytest.mark.parametrize("name", rbkit_websocket.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(rbkit_websocket, name) is not None


def test_public_names_are_listed_once_and_sorted() -> None:
    assert rbkit_websocket.__all__ == sorted(set(rbkit_websocket.__all__))
    assert set(rbkit_websocket.__all__) <= set(dir(rbkit_websocket))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rbkit_websocket.no_such_name


@pytest.mark.smoke
def test_importing_the_package_loads_nothing_that_monkey_patching_cares_about() -> None:
    script = (
        "import sys; before = set(sys.modules); import rbkit_websocket; new = set(sys.modules) - before; "
        "print(*sorted(new & {'gevent', 'zmq', 'ssl', 'threading', 'socket', 'queue', 'logging', 'msgpack', "
        "'geventwebsocket', 'subprocess', 'selectors'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_importing_the_middleware_patches_and_starts_nothing() -> None:
    script = (
        "import gc, os, sys, signal, threading\n"
        "handlers = [signal.getsignal(number) for number in signal.valid_signals()]\n"
        "from rbkit_websocket import RbkitWebsocket, start_server, start_profiling, stop_server, ensure_started\n"
        "assert len(os.listdir('/proc/self/task')) == 1, os.listdir('/proc/self/task')\n"
        "assert threading.active_count() == 1\n"
        "assert not os.listdir(os.environ['RBKIT_RUNTIME_DIR'])\n"
        "monkey = sys.modules.get('gevent.monkey')\n"
        "assert monkey is None or not monkey.is_anything_patched()\n"
        "RbkitWebsocket(lambda environ, start_response: [])\n"
        "assert len(os.listdir('/proc/self/task')) == 1, 'building the middleware starts nothing'\n"
        "assert handlers == [signal.getsignal(number) for number in signal.valid_signals()]\n"
        "assert not os.listdir(os.environ['RBKIT_RUNTIME_DIR'])\n"
        "assert not {'zmq', 'gevent'} & set(sys.modules), 'nor loads what an application may never need'\n"
    )
    run_in_private_directory(script)


def run_in_private_directory(script: str) -> None:
    import os
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rbt", dir="/tmp") as directory:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "RBKIT_RUNTIME_DIR": directory},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_an_rbkit_error_and_drawn_in_the_docstring(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.RbkitError)
    assert name in errors.__doc__


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.RuntimeDirectoryError("/run/x", "is shut"), "rbkit runtime directory /run/x: is shut"),
        (errors.Refused("401 Unauthorized", "no token"), "401 Unauthorized: no token"),
        (errors.ConnectionRefused(None, "nobody there"), "cannot connect: nobody there"),
        (errors.ConnectionRefused(401, "no token"), "the server refused the connection with HTTP 401: no token"),
        (errors.ConnectionClosed(1006, ""), "connection closed (1006)"),
        (errors.ConnectionClosed(1013, "not running"), "connection closed (1013): not running"),
        (errors.CommandFailed("stacks", "busy", "later"), "stacks: later (busy)"),
        (errors.CommandTimeout("stacks", 1.5), "no answer to 'stacks' within 1.5 s"),
        (errors.ServerStartError("port taken"), "port taken"),
        (errors.NoSuchServer("7-a", "/x"), "no server '7-a' here; GET /x/servers lists them"),
    ],
)
def test_errors_say_their_fields_and_survive_pickling(error: Exception, text: str) -> None:
    import pickle

    assert str(error) == text
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), text, vars(error))
