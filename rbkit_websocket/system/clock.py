"""The module ``time`` in its original state, even if the application has changed it.

A test suite or a program that simulates stops the clocks of its process: freezegun and mocks put functions of their own
into every loaded module, time_machine into the C functions themselves. Measurements and time-outs of ours must not
stand still with them. So all of this package reads ``from .clock import time``.

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
        """A second module, absent from ``sys.modules``, with function objects of its own."""
        import time as found

        # In most builds it is part of the interpreter. The loaded module is not asked: a mock may stand for it.
        spec = BuiltinImporter.find_spec("time") or found.__spec__
        time = module_from_spec(spec)
        spec.loader.exec_module(time)
        # Before its version 3 time_machine stops monotonic() too, but never this one.
        time.monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
        original = time.time

        def now():
            """Seconds since the epoch."""
            # Its public way to the real clock. The module may be imported only in part.
            hatch = getattr(sys.modules.get("time_machine"), "escape_hatch", None)
            if hatch is not None:
                try:
                    return hatch.time.time()
                except ValueError:
                    pass  # no clock is stopped
            return original()

        time.time = now
        return time

    time = _made_anew()
