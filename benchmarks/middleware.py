"""What the middleware adds to a request that is none of its own: ``python benchmarks/middleware.py``.

Both sides run in turns (A B A B ...) over a few environs of realistic size; medians are compared. The bar is 150 ns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from rbkit_websocket import RbkitWebsocket

REQUESTS = 16
ROUNDS = 6001


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """As little as an application can do."""
    return []


def environs() -> list[dict[str, Any]]:
    """Like a browser's request under gunicorn: some 40 keys, a path of its own each."""
    common = {f"HTTP_X_HEADER_{number}": "value" for number in range(36)}
    return [{"REQUEST_METHOD": "GET", "PATH_INFO": f"/users/{number}", **common} for number in range(REQUESTS)]


def nanoseconds(call: Callable[..., Any], requests: list[dict[str, Any]]) -> float:
    """Mean time of one call."""
    start = time.perf_counter_ns()
    for environ in requests:
        call(environ, None)
    return (time.perf_counter_ns() - start) / len(requests)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        wrapped = RbkitWebsocket(
            application,
            token=False,
            pub_endpoint="tcp://127.0.0.1:5555",
            req_endpoint="tcp://127.0.0.1:5556",
            runtime_dir=directory,
        )
        requests = environs()
        nanoseconds(wrapped, requests)
        bare, added = [], []
        for _ in range(ROUNDS):
            alone = nanoseconds(application, requests)
            bare.append(alone)
            added.append(nanoseconds(wrapped, requests) - alone)
    print(f"bare application {statistics.median(bare):.0f} ns, the middleware adds {statistics.median(added):.0f} ns")


if __name__ == "__main__":
    main()
