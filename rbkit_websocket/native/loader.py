"""The extension module with the sampler, or why it is not used."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any
from zipimport import zipimporter

from ..options.switches import native_wanted

__all__ = ["NativeUnavailable", "native_module", "why_missing"]


class NativeUnavailable(Exception):
    """The native sampler cannot be used; ``str()`` of it is the reason, for people."""


def native_module() -> Any:
    """The extension module.

    Raises:
        NativeUnavailable: it has not been built, or shall not be used.
    """
    if not native_wanted():
        raise NativeUnavailable("RBKIT_NATIVE turns it off")
    try:
        from . import _native
    except ImportError as error:
        if sys.platform != "linux":
            raise NativeUnavailable("it is for Linux only") from error
        raise NativeUnavailable(why_missing("_native", error)) from error
    return _native


def why_missing(name: str, error: ImportError) -> str:
    """Why one of the extension modules cannot be imported, for people."""
    if type(globals()["__spec__"].loader) is zipimporter:
        return "the package is in a zip file, from which Python loads no extension; unpack or install it"
    if find_spec(f".{name}", __package__) is None:
        return "the extension was not built when this package was installed"
    return f"the extension cannot be loaded ({error})"
