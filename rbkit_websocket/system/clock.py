"""The module ``time`` as it was made, whatever the application has done to it.

A test suite or a program that simulates stops the clocks of its process: freezegun and mocks put functions of their own
into every module that is loaded, time_machine into the C functions themselves. What we measure, and how long we wait,
must not stand still with them. So all of this package reads ``from .clock import time``.

Its ``sleep`` is the original as well, which stops the whole event loop: never call it where greenlets run.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from typing import TYPE_CHECKING

__all__ = ["time"]

if TYPE_CHECKING:
    import time
else:

    def _made_anew():
        """A second module, which nobody finds among the loaded ones and whose functions are no others' objects."""
        import time as found

        # In most builds it is part of the interpreter. Not asked of the module first: a mock may stand for it.
        spec = BuiltinImporter.find_spec("time") or found.__spec__
        time = module_from_spec(spec)
        spec.loader.exec_module(time)
        # Before its version 3 time_machine stops monotonic() too, but never this one.
        time.monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
        original = time.time

        def now():
            """Seconds since the epoch."""
            # Its public door to the real clock. The module may be there but half.
            hatch = getattr(sys.modules.get("time_machine"), "escape_hatch", None)
            if hatch is not None:
                try:
                    return hatch.time.time()
                except ValueError:
                    pass  # nobody travels
            return original()

        time.time = now
        return time

    time = _made_anew()
