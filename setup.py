"""The native extensions; everything declarative is in setup.cfg.

They are built where that can be done: without a compiler the package installs nevertheless and runs on its Python
fallbacks. ``RBKIT_NATIVE`` in the environment of the build says otherwise: ``0`` leaves them out, ``require`` makes a
failure to build them fatal.
"""

import os
import sys

from setuptools import Extension, setup

WANTED = os.environ.get("RBKIT_NATIVE", "").strip().lower()
# Each source with the headers it includes from beside it.
SOURCES = {
    "rbkit_websocket.native._native": [
        "_native.c",
        "_compat.h",
        "_native_ask.h",
        "_native_fold.h",
        "_native_frames.h",
        "_native_served.h",
        "_native_store.h",
        "_native_waits.h",
        "_native_walk.h",
        "_pack.h",
    ],
    "rbkit_websocket.native._heap": [
        "_heap.c",
        "_compat.h",
        "_gc_lists.h",
        "_heap_child.h",
        "_heap_pack.h",
        "_heap_places.h",
        "_heap_roots.h",
        "_heap_tables.h",
        "_heap_types.h",
        "_heap_walk.h",
        "_pack.h",
    ],
    "rbkit_websocket.native._trace": [
        "_trace.c",
        "_compat.h",
        "_gc_lists.h",
        "_trace_table.h",
        "_trace_census.h",
        "_native_waits.h",
        "_native_walk.h",
    ],
}


def extensions():
    """The extensions to build here."""
    if WANTED in ("0", "no", "off", "false"):
        return []
    if not sys.platform.startswith("linux") or sys.implementation.name != "cpython":
        if WANTED == "require":
            sys.exit("RBKIT_NATIVE=require, but the extensions are for Linux and CPython only")
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
