"""The one loader of the extension modules, and the one sentence on why a module is missing."""

from __future__ import annotations

import platform
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal
from zipimport import zipimporter

from ..options.switches import native_wanted

__all__ = ["NativeUnavailable", "extension", "untested"]


class NativeUnavailable(Exception):
    """An extension module, or a part of its work, is not available; ``str()`` of this is the reason, for people."""


def extension(name: Literal["_native", "_heap", "_trace"]) -> Any:
    """An extension module.

    Raises:
        NativeUnavailable: it has not been built, or shall not be used.
    """
    if not native_wanted():
        raise NativeUnavailable("RBKIT_NATIVE turns it off")
    # Of an interpreter without a lock; "t" is for threads.
    if "t" in getattr(sys, "abiflags", ""):
        raise NativeUnavailable("this Python is free-threaded, and an extension would turn its lock on for all threads")
    try:
        return import_module(f".{name}", __package__)
    except ImportError as error:
        raise NativeUnavailable(_why_missing(name, error)) from error


def _why_missing(name: str, error: ImportError) -> str:
    if sys.platform != "linux" or sys.implementation.name != "cpython":
        return "it is for CPython on Linux only"
    if type(globals()["__spec__"].loader) is zipimporter:
        return "the package is in a zip file, from which Python loads no extension; unpack or install it"
    if find_spec(f".{name}", __package__) is None:
        return "the extension was not built when this package was installed"
    return f"the extension cannot be loaded ({error})"


def untested(native: Any) -> str:
    """The reason why an extension uses no private ways in this interpreter, for people."""
    if not native.RELEASE:
        return f"tested on {native.TESTED_RELEASES}, and this is {platform.python_version()}"
    return "this Python is not laid out as the tested ones are"
