"""The native extensions; everything declarative is in setup.cfg.

They are built where that can be done: without a compiler the package installs nevertheless and runs on its Python
fallbacks. ``RBKIT_NATIVE`` in the environment of the build says otherwise: ``0`` leaves them out, ``require`` makes a
failure to build them fatal. ``tools/distributions.py`` reads from here what the wheels of a release are compiled of.
"""

import os
import sys
import sysconfig
from glob import glob

from setuptools import Extension, setup

WANTED = os.environ.get("RBKIT_NATIVE", "").strip().lower()
# Each extension's folder below rbkit_websocket/native, and what it takes from common/ beside it.
SOURCES = {
    "_native": ("sampler", "frames.c", "gc_lists.c", "pack.c", "table.c"),
    "_heap": ("heap", "gc_lists.c", "pack.c", "table.c"),
    "_trace": ("trace", "frames.c", "gc_lists.c", "table.c"),
}


def extensions():
    """The extensions to build here."""
    if WANTED in ("0", "no", "off", "false"):
        return []
    if not sys.platform.startswith("linux") or sys.implementation.name != "cpython":
        if WANTED == "require":
            sys.exit("RBKIT_NATIVE=require, but the extensions are for Linux and CPython only")
        return []
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        if WANTED == "require":
            sys.exit("RBKIT_NATIVE=require, but the extensions rest on the interpreter's lock")
        return []
    root = os.path.join("rbkit_websocket", "native")
    options = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-pthread"]
    found = []
    for name, (folder, *shared) in SOURCES.items():
        own = sorted(glob(os.path.join(root, folder, "*.c")))
        found.append(
            Extension(
                f"rbkit_websocket.native.{name}",
                own + [os.path.join(root, "common", source) for source in shared],
                depends=sorted(glob(os.path.join(root, "*", "*.h"))),
                # What one file has of another is nobody else's: PyInit_ alone is seen from outside.
                extra_compile_args=[*options, "-fvisibility=hidden"],
                extra_link_args=["-pthread"],
                optional=WANTED != "require",
            )
        )
    return found


if __name__ == "__main__":
    setup(ext_modules=extensions())
