"""The extension module with the sampler, or why it is not used."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

from ..config import native_wanted

__all__ = ["NativeUnavailable", "native_module"]


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
        if find_spec("._native", __package__) is None:
            raise NativeUnavailable("the extension was not built when this package was installed") from error
        raise NativeUnavailable(f"the extension cannot be loaded ({error})") from error
    return _native
