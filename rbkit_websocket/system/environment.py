"""The one way to read an environment variable."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["variable"]


def variable(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The variable's text; None where it is not set, or empty, which is how deployment tools spell "not set"."""
    return environ.get(name, "").strip() or None
