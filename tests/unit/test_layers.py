"""Imports flow downwards only, and gevent stays where it belongs: read from the sources, lazy imports included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rbkit_websocket

ROOT = Path(rbkit_websocket.__file__).parent

BELOW: dict[str, set[str]] = {
    "clock": set(),
    "errors": set(),
    "protocol": set(),
    "config": {"binding", "protocol", "started"},
    "started": set(),
    "stderr": set(),
    "liveness": set(),
    "loaded": set(),
    "unpatched": {"loaded"},
    "headroom": {"unpatched"},
    "zmqcontext": {"headroom"},
    "local": set(),
    "sessions": set(),
    "curve": set(),
    "binding": set(),
    "plainfile": set(),
    "discovery": {"liveness", "local", "plainfile"},
    "tokenfile": {"discovery", "plainfile"},
    "model": set(),
    "serving": set(),
    "redaction": {"serving"},
    "responses": set(),
    "handshake": {"protocol"},
    "authorize": {"handshake", "discovery"},
    "profilers": {"loaded", "model", "protocol"},
    "routes": {"profilers"},
    "exporters": {"model"},
    "server": {
        *("binding", "curve", "discovery", "headroom", "loaded", "local", "profilers", "protocol", "sessions"),
        *("started", "stderr", "unpatched", "zmqcontext"),
    },
    "client": {"protocol", "model"},
    "websocket": {"protocol", "handshake"},
    "takeover": {"handshake", "headroom", "loaded", "serving"},
    "bridge": {"curve", "discovery", "local", "protocol", "websocket", "zmqcontext"},
    "runtime": {"authorize", "bridge", "curve", "discovery", "server", "stderr", "takeover", "tokenfile"},
    "dashboard": {"authorize", "handshake", "discovery", "protocol", "redaction", "responses", "runtime", "takeover"},
    "upgrade": {
        *("bridge", "handshake", "headroom", "protocol", "redaction", "responses", "runtime", "sessions", "takeover"),
        "websocket",
    },
    "middleware": {
        "server",
        "dashboard",
        "handshake",
        "loaded",
        "profilers",
        "responses",
        "runtime",
        "takeover",
        "upgrade",
    },
    "cli": {
        *("bridge", "client", "curve", "dashboard", "discovery", "exporters", "handshake", "middleware", "model"),
        *("protocol", "responses", "runtime", "server", "tokenfile", "upgrade", "websocket"),
    },
    "__main__": {"cli"},
}
"""Layer to the layers it may import; errors, config, clock and itself are open to all."""

OPEN_TO_ALL = {"errors", "config", "clock"}

GEVENT_ALLOWED = ("takeover/", "websocket/", "bridge/", "cli/", "server/originals.py", "profilers/greenlets.py")
EVENT_LOOP_PACKAGES = {"gevent", "geventwebsocket", "greenlet"}

SOURCES = sorted(path for path in ROOT.rglob("*.py") if "static" not in path.parts)


def layer_of(module: str) -> str:
    """First component below the package, the package itself being ``__init__``."""
    return module.split(".")[1] if "." in module else "__init__"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers see."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and is_type_checking(child):
            for part in child.orelse:
                yield part
                yield from nodes(part)
            continue
        yield child
        yield from nodes(child)


def imported(path: Path, source: str | None = None) -> set[str]:
    """Full names of the modules that a file imports, ``from x import y`` as ``x.y``."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found: set[str] = set()
    for node in nodes(ast.parse(source if source is not None else path.read_text())):
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


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_downwards(path: Path) -> None:
    here = layer_of(module_name(path))
    if here == "__init__":
        return  # the public names, resolved when they are first used
    assert here in BELOW, f"{path} is in no layer: add it to BELOW"
    ours = {layer_of(name) for name in imported(path) if name.split(".")[0] == "rbkit_websocket" and "." in name}
    # "from . import __version__" and the like take from the package itself.
    ours -= {name for name in ours if not ((ROOT / name).is_dir() or (ROOT / f"{name}.py").exists())}
    wrong = ours - BELOW[here] - OPEN_TO_ALL - {here}
    assert not wrong, f"{here} imports {', '.join(sorted(wrong))}"


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
    assert not found or where in ("clock.py", "cli/demo_app.py"), f"{where} imports {found}: take .clock's time"


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
    assert expected in imported(ROOT / "bridge" / "requests.py", source)


def test_the_reader_leaves_out_what_only_type_checkers_see() -> None:
    source = "if TYPE_CHECKING:\n    import gevent\nelse:\n    import zmq"
    assert imported(ROOT / "config.py", source) == {"zmq"}
