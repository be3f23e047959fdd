"""Imports flow downwards only, and gevent stays where it belongs: read from the sources, lazy imports included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rbkit_websocket

ROOT = Path(rbkit_websocket.__file__).parent

BELOW: dict[str, set[str]] = {
    "errors": set(),
    "system": set(),
    "protocol": set(),
    "model": set(),
    "transport": {"system"},
    "options": {"protocol", "system", "transport"},
    "fleet": {"system", "transport"},
    "native": {"options"},
    "profilers": {"native", "protocol", "system"},
    "routes": {"profilers"},
    "server": {"fleet", "options", "profilers", "protocol", "system", "transport"},
    "websocket": {"protocol", "system"},
    "takeover": {"system", "websocket"},
    "bridge": {"options", "protocol", "system", "transport", "websocket"},
    "http": {
        *("bridge", "fleet", "options", "protocol", "server", "system", "takeover", "transport", "websocket"),
    },
    "middleware": {"http", "options", "profilers", "server", "system", "takeover", "websocket"},
    "gateway": {"bridge", "fleet", "http", "options", "transport", "websocket"},
    "client": {"protocol", "system"},
    "cli": {"client", "fleet", "gateway", "http", "model", "protocol", "system", "transport"},
    "__main__": {"cli"},
}
"""Room to the rooms that it imports from; errors are open to all."""

OPEN_TO_ALL = {"errors"}

GEVENT_ALLOWED = (
    *("takeover/", "websocket/", "bridge/", "gateway/", "cli/"),
    *("server/originals.py", "profilers/greenlets/registry.py", "system/eventloop.py"),
)
EVENT_LOOP_PACKAGES = {"gevent", "geventwebsocket", "greenlet"}

SOURCES = sorted(path for path in ROOT.rglob("*.py") if "static" not in path.parts)


def layer_of(module: str) -> str:
    """First component below the package, the package itself being ``__init__``."""
    return module.split(".")[1] if "." in module else "__init__"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, source: str | None = None) -> set[str]:
    """Full names of the modules that a file imports, ``from x import y`` as ``x.y``."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(source if source is not None else path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{prefix}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return found


def rooms_imported(path: Path) -> set[str]:
    """Rooms of the package that a file imports from."""
    rooms = {layer_of(name) for name in imported(path) if name.split(".")[0] == "rbkit_websocket" and "." in name}
    # "from . import __version__" and the like take from the package itself.
    return {name for name in rooms if (ROOT / name).is_dir() or (ROOT / f"{name}.py").exists()}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_downwards(path: Path) -> None:
    here = layer_of(module_name(path))
    if here == "__init__":
        return  # the public names, resolved when they are first used
    assert here in BELOW, f"{path} is in no room: add it to BELOW"
    wrong = rooms_imported(path) - BELOW[here] - OPEN_TO_ALL - {here}
    assert not wrong, f"{here} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("room", BELOW)
def test_no_permission_is_unused(room: str) -> None:
    files = [path for path in SOURCES if layer_of(module_name(path)) == room]
    assert files, "the room is no more"
    assert BELOW[room] <= set().union(*map(rooms_imported, files)), "take the permission away"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_gevent_is_imported_only_where_it_may_be(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    found = {name for name in imported(path) if name.split(".")[0] in EVENT_LOOP_PACKAGES | {"zmq.green"}}
    found |= {name for name in imported(path) if name.startswith("zmq.green")}
    assert not found or where.startswith(GEVENT_ALLOWED), f"{where} imports {found}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_clocks_that_an_application_may_stop_are_read_in_one_place_only(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    found = {name for name in imported(path) if name.split(".")[0] in ("time", "datetime")}
    # The demo's application is somebody else's, as it were.
    assert not found or where in ("system/clock.py", "cli/demo_app.py"), f"{where} imports {found}: take .clock's time"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_environment_is_read_in_one_place_only(path: Path) -> None:
    whole = ("options/table.py", "gateway/server.py", "cli/demo_process.py")  # take all of it, to hand it on
    found = any(
        isinstance(node, ast.Attribute) and node.attr == "environ" and getattr(node.value, "id", "") == "os"
        for node in ast.walk(ast.parse(path.read_text()))
    )
    assert not found or path.relative_to(ROOT).as_posix() in ("system/environment.py", *whole)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_are_packed_and_read_in_one_place_only(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    if where == "protocol/codec.py":
        return
    found = {name for name in imported(path) if name.split(".")[0] == "msgpack"}
    # Codes of MessagePack that somebody has written out.
    found |= {
        repr(node.value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and not node.value.isascii()
    }
    assert not found, f"{where} has {found}: protocol/codec.py and protocol/packing.py have what packs and reads"


def test_no_module_imports_itself_through_others() -> None:
    """Within rooms too, and with what only type checkers see."""
    modules = {module_name(path): path for path in SOURCES}

    def below(path: Path) -> set[str]:
        found = {name if name in modules else name.rpartition(".")[0] for name in imported(path)}
        return {name for name in found if name in modules} - {module_name(path)}

    # The package itself hands on public names, each when it is first used.
    arrows = {name: below(path) - {"rbkit_websocket"} for name, path in modules.items() if name != "rbkit_websocket"}
    done: set[str] = set()
    while left := arrows.keys() - done:
        free = {name for name in left if arrows[name] <= done}
        assert free, f"a circle among {sorted(left)}"
        done |= free


def test_no_two_classes_have_one_name() -> None:
    """Whoever reads a name in a traceback or a search finds one thing."""
    homes: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    # The server is the thing itself; the client's class has its name in everybody's programs.
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_no_two_public_functions_have_one_name() -> None:
    """But for a subcommand, a feature's commands and what a program begins with: they say what kind of file it is."""
    homes: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    meant = {"command", "commands", "main"}
    assert {name: places for name, places in homes.items() if len(places) > 1 and name not in meant} == {}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_one_job(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400, "what it does is more than one thing: divide it"


def test_the_layers_have_no_cycle() -> None:
    done: set[str] = set()
    while left := set(BELOW) - done:
        free = {layer for layer in left if BELOW[layer] - {layer} <= done}
        assert free, f"a cycle among {left}"
        done |= free


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from . import hub", "rbkit_websocket.bridge.hub"),
        ("from ..websocket import session", "rbkit_websocket.websocket.session"),
        ("def f():\n    import gevent.lock", "gevent.lock"),
        ("try:\n    from gevent import sleep\nexcept ImportError:\n    pass", "gevent.sleep"),
        ("import importlib\nimportlib.import_module('gevent')", "gevent"),
    ],
)
def test_the_reader_sees_every_kind_of_import(source: str, expected: str) -> None:
    assert expected in imported(ROOT / "bridge" / "commands.py", source)


def test_the_reader_sees_what_only_type_checkers_see() -> None:
    source = "if TYPE_CHECKING:\n    import gevent\nelse:\n    import zmq"
    assert imported(ROOT / "options.py", source) == {"gevent", "zmq"}
