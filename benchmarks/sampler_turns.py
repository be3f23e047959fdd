"""What a sample costs the thread that is sampled. Part of ``sampler.py``.

The native sampler looks at a loop often and hardly ever in turns of 40 ms, in one thread, so that a machine which
changes its speed from second to second changes both sides. Nobody reads the samples meanwhile: that is the other parts'
matter, and a thread's of its own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from rbkit_websocket.profilers.cpu.native import NativeSampler
from rbkit_websocket.server.originals import AppThread, make_host

TURN = 0.04
HARDLY_EVER_USEC = 1_000_000
PAIRS_A_DRAIN = 12
# Of values that are normally distributed: the standard error of a median by that of a mean, and how many standard
# deviations the quartiles are apart.
SPREAD, QUARTILES = 1.2533, 1.349


def turn(work: Callable[[], object]) -> float:
    """Seconds for one unit of work."""
    units, began = 0, time.perf_counter()
    while (now := time.perf_counter()) < began + TURN:
        work()
        units += 1
    return (now - began) / units


def measure(work: Callable[[], object], interval_usec: int, seconds: float) -> list[float]:
    """Ratios of neighbouring turns, with and without."""
    app = AppThread()
    sampler = NativeSampler(make_host(app))
    ratios = []
    sampler.start()
    try:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pair = {}
            # Each side goes first in half of the pairs.
            for often in (True, False) if len(ratios) % 2 else (False, True):
                sampler.interval_usec = interval_usec if often else HARDLY_EVER_USEC
                pair[often] = turn(work)
            ratios.append(pair[True] / pair[False])
            if len(ratios) % PAIRS_A_DRAIN == 0:
                sampler.drain(None)
    finally:
        sampler.stop()
        app.close()
    return ratios


def error_of_median(values: list[float]) -> float:
    """Its standard error, of values that are normally distributed but for a few that are far off; 0.0 for one value."""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4)
    return SPREAD * (third - first) / QUARTILES / len(values) ** 0.5
