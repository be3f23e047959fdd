"""Looks into the built distributions: what has to be in, and what must not be.

Arguments: a source distribution and wheels. A wheel for one platform has to bring the native extensions.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile

DASHBOARD = tuple(f"rbkit_websocket/dashboard/static/{name}" for name in ("index.html", "app.js", "app.css"))
REQUIRED = {
    ".whl": (
        "rbkit_websocket/py.typed",
        "rbkit_websocket/middleware.py",
        "rbkit_websocket/profilers/_native.pyi",
        "rbkit_websocket/profilers/_heap.pyi",
        *DASHBOARD,
        "entry_points.txt",
    ),
    ".gz": (
        "README.rst",
        "CHANGELOG.rst",
        "LICENSE",
        "setup.cfg",
        "rbkit_websocket/py.typed",
        "rbkit_websocket/profilers/_native.c",
        "rbkit_websocket/profilers/_native.pyi",
        "rbkit_websocket/profilers/_native_store.h",
        "rbkit_websocket/profilers/_native_walk.h",
        "rbkit_websocket/profilers/_heap.c",
        "rbkit_websocket/profilers/_heap.pyi",
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
EXTENSIONS = ("rbkit_websocket/profilers/_native.", "rbkit_websocket/profilers/_heap.")
FORBIDDEN = ("__pycache__", ".pyc", ".venv", "node_modules", ".git/")


def names(path: str) -> list[str]:
    """Paths inside a wheel or a source distribution."""
    if path.endswith(".whl"):
        return zipfile.ZipFile(path).namelist()
    with tarfile.open(path) as archive:
        return archive.getnames()


def main(paths: list[str]) -> int:
    """Prints what is wrong; returns the exit code."""
    wrong = []
    for path in paths:
        inside = names(path)
        required = next(value for suffix, value in REQUIRED.items() if path.endswith(suffix))
        wrong += [f"{path}: {name} is missing" for name in required if not any(n.endswith(name) for n in inside)]
        wrong += [f"{path}: {n} has no place there" for n in inside if any(bad in n for bad in FORBIDDEN)]
        if path.endswith(".whl") and not path.endswith("-none-any.whl"):
            built = [n for n in inside if n.endswith(".so")]
            wrong += [f"{path}: {e}*.so is missing" for e in EXTENSIONS if not any(n.startswith(e) for n in built)]
        if path.endswith(".whl"):
            wrong += [f"{path}: {n} has no place there" for n in inside if n.startswith(("tests/", "benchmarks/"))]
    print("\n".join(wrong) or f"{len(paths)} distributions are complete")
    return 1 if wrong or len(paths) != 2 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
