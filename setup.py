"""The native extensions; everything declarative is in setup.cfg.

They are experimental and built only if ``RBKIT_NATIVE`` asks for them at build time: ``1`` builds them if that can be
done (the package installs without a compiler nevertheless), ``require`` makes a failure to build one fatal. Without
them everything runs on its Python fallbacks.
"""

import os
import sys

from setuptools import Extension, setup

WANTED = os.environ.get("RBKIT_NATIVE", "").strip().lower()
# Each source with the headers it includes from beside it.
SOURCES = {
    "rbkit_websocket.profilers._native": ["_native.c", "_native_store.h", "_native_walk.h"],
    "rbkit_websocket.profilers._heap": [
        "_heap.c",
        "_heap_child.h",
        "_heap_pack.h",
        "_heap_places.h",
        "_heap_roots.h",
        "_heap_tables.h",
        "_heap_types.h",
        "_heap_walk.h",
    ],
}


def extensions():
    """The extensions to build here."""
    if WANTED not in ("1", "yes", "on", "true", "require") or not sys.platform.startswith("linux"):
        return []
    if sys.implementation.name != "cpython":
        return []
    found = []
    for name, (source, *headers) in SOURCES.items():
        folder = os.path.join(*name.split(".")[:-1])
        found.append(
            Extension(
                name,
                [os.path.join(folder, source)],
                depends=[os.path.join(folder, header) for header in headers],
                extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-pthread"],
                extra_link_args=["-pthread"],
                optional=WANTED != "require",
            )
        )
    return found


setup(ext_modules=extensions())
