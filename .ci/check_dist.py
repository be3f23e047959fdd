"""Looks into the built distributions: what has to be in, and what must not be.

Arguments: source distributions and wheels. A wheel for a platform has to bring the native extensions, and one for any
must not. With ``--links`` first, what a registry's page shows may lead to nothing that is relative to a checkout.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

NATIVE = Path("rbkit_websocket/native")
SOURCES = tuple(path.as_posix() for suffix in "ch" for path in sorted(NATIVE.rglob(f"*.{suffix}")))
"""Of the checkout, which this is called in."""
DASHBOARD = tuple(f"rbkit_websocket/http/dashboard/static/{name}" for name in ("index.html", "app.js", "app.css"))
REQUIRED = {
    ".whl": (
        "rbkit_websocket/py.typed",
        "rbkit_websocket/middleware.py",
        "rbkit_websocket/native/_native.pyi",
        "rbkit_websocket/native/_heap.pyi",
        "rbkit_websocket/native/_trace.pyi",
        *DASHBOARD,
        "entry_points.txt",
    ),
    ".gz": (
        "README.rst",
        "CHANGELOG.rst",
        "LICENSE",
        "setup.cfg",
        "rbkit_websocket/py.typed",
        "rbkit_websocket/native/_native.pyi",
        "rbkit_websocket/native/_trace.pyi",
        "rbkit_websocket/native/_heap.pyi",
        *SOURCES,
        *DASHBOARD,
        "build_backend.py",
        "frontend/.npmrc",
        "frontend/build.mjs",
        "frontend/built-from.txt",
        "frontend/package-lock.json",
        "frontend/public/index.html",
        "frontend/src/main.tsx",
        "tests/conftest.py",
        "docs/servers/nginx/plain.conf",
        "examples/flask_app.py",
    ),
}
EXTENSIONS = tuple(f"rbkit_websocket/native/{name}." for name in ("_native", "_heap", "_trace"))
ADDRESSES = {"Source", "Documentation", "Changelog", "Issues"}
FORBIDDEN = ("__pycache__", ".pyc", ".venv", "node_modules", ".git/")


def names(path: str) -> list[str]:
    """Paths inside a wheel or a source distribution."""
    if path.endswith(".whl"):
        return zipfile.ZipFile(path).namelist()
    with tarfile.open(path) as archive:
        return archive.getnames()


def metadata(path: str) -> str:
    """What a registry shows of a wheel."""
    archive = zipfile.ZipFile(path)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return archive.read(name).decode()


def wrong_links(text: str) -> list[str]:
    """Relative links and pictures, and addresses that are missing."""
    relative = re.findall(r"(?:\.\. image:: |<)((?!https://)[\w./#-]+)(?=>`_|$)", text, re.MULTILINE)
    missing = ADDRESSES - set(re.findall(r"^Project-URL: (\w+), https://", text, re.MULTILINE))
    return [f"{link} is relative" for link in relative] + [f"{name} has no address" for name in sorted(missing)]


def main(paths: list[str]) -> int:
    """Prints what is wrong; returns the exit code."""
    links = paths[:1] == ["--links"]
    paths = paths[links:]
    wrong = []
    for path in paths:
        inside = names(path)
        required = next(value for suffix, value in REQUIRED.items() if path.endswith(suffix))
        wrong += [f"{path}: {name} is missing" for name in required if not any(n.endswith(name) for n in inside)]
        wrong += [f"{path}: {n} has no place there" for n in inside if any(bad in n for bad in FORBIDDEN)]
        if path.endswith(".whl"):
            built = [n for n in inside if n.endswith(".so")]
            extensions = () if path.endswith("-none-any.whl") else EXTENSIONS
            wrong += [f"{path}: {e}*.so is missing" for e in extensions if not any(n.startswith(e) for n in built)]
            wrong += [f"{path}: {n} has no place there" for n in built if not n.startswith(extensions)]
            wrong += [f"{path}: {n} has no place there" for n in inside if n.startswith(("tests/", "benchmarks/"))]
            wrong += [f"{path}: {what}" for what in (wrong_links(metadata(path)) if links else [])]
    print("\n".join(wrong) or f"{len(paths)} distributions are complete")
    return 1 if wrong or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
