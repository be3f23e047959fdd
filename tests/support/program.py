"""Python programs in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
from typing import Any

from .waiting import scaled


def run(script: str, *, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs ``python -c`` on a script, dedented, and returns its end with what it printed."""
    # Python looks for modules in the working directory first, and a checkout's have no extension beside them.
    with tempfile.TemporaryDirectory() as directory:
        return subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script)],
            **{"cwd": directory, "capture_output": True, "text": True, **options},
            timeout=scaled(timeout),
            check=False,
        )
