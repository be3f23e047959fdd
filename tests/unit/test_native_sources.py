"""The C code is a library that people can live in: what test_layers.py holds of Python, of C."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "rbkit_websocket" / "native"
SOURCES = sorted(NATIVE.rglob("*.c"))
HEADERS = sorted(NATIVE.rglob("*.h"))


def name_of(path: Path) -> str:
    return path.relative_to(NATIVE).as_posix()


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", SOURCES + HEADERS, ids=name_of)
def test_a_file_has_one_job(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 700, "what it does is more than one thing: divide it"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_source_has_its_header(path: Path) -> None:
    assert path.stem == "module" or path.with_suffix(".h") in HEADERS


@pytest.mark.parametrize("path", HEADERS, ids=name_of)
def test_a_header_holds_no_state(path: Path) -> None:
    """Each source that includes it would have its own."""
    statics = re.findall(r"^[ \t]*static\b.*", path.read_text(), re.MULTILINE)
    assert [line for line in statics if not re.match(r"static inline\b.*\(", line)] == []


@pytest.mark.parametrize("path", SOURCES + HEADERS, ids=name_of)
def test_versions_are_told_apart_in_one_place(path: Path) -> None:
    found = re.findall(r"PY_VERSION_HEX|PY_M\w+_VERSION|Py_GIL_DISABLED|PYPY_VERSION", path.read_text())
    assert path.name == "compat.h" or not found


@pytest.mark.parametrize(("extension", "folder"), [("_native", "sampler"), ("_heap", "heap"), ("_trace", "trace")])
def test_only_the_modules_beginning_is_seen_from_outside(extension: str, folder: str) -> None:
    module = pytest.importorskip(f"rbkit_websocket.native.{extension}")
    library = ctypes.CDLL(module.__file__)
    headers = [path for path in HEADERS if path.parent.name in (folder, "common")]
    declared = re.compile(r"^\w[\w *]*\b(\w+)\([^;{]*\);$", re.MULTILINE)
    names = {name for path in headers for name in declared.findall(path.read_text())}
    assert len(names) > 10
    assert hasattr(library, f"PyInit_{extension}")
    assert {name for name in names if hasattr(library, name)} == set()
