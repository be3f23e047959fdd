"""``stacks`` of very many greenlets and threads: the application goes on meanwhile, and what is left out is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.native import REASON, python

PROGRAM = """
import json, sys, threading, time
import gevent, msgpack
from gevent.event import Event
from rbkit_websocket.profilers.greenlets.registry import GreenletRegistry
from rbkit_websocket.profilers.greenlets.stacks import stacks
from rbkit_websocket.server.originals import AppThread, make_host

greenlets, threads = int(sys.argv[1]), int(sys.argv[2])
over, ended = Event(), threading.Event()

def park(levels):
    park(levels - 1) if levels else over.wait()

def rest(levels):
    rest(levels - 1) if levels else ended.wait()

parked = [gevent.spawn(park, 10) for _ in range(greenlets)]
workers = [threading.Thread(target=rest, args=(10,), daemon=True) for _ in range(threads)]
for worker in workers:
    worker.start()
gevent.sleep(0.01)
app = AppThread()
host = make_host(app)
slices, worked = [], 0.0

def answer():  # in a greenlet: one runs
    global worked
    job = stacks(host, GreenletRegistry(host))
    while True:
        began = time.thread_time()
        try:
            pause = next(job)
        except StopIteration as end:
            return msgpack.unpackb(end.value)
        finally:
            slices.append(time.thread_time() - began)
        assert pause > 0

told = gevent.spawn(answer).get()
slices.sort()
print(json.dumps({
    "threads": len(told["threads"]),
    "greenlets": len(told["greenlets"]),
    "states": sorted({task["state"] for task in told["greenlets"]}),
    "whole": sum(sum(frame[0] == "park" for frame in task["stack"]) == 11 for task in told["greenlets"]),
    "left_out": [told["threads_left_out"], told["greenlets_left_out"]],
    "slices": len(slices),
    "total": sum(slices),
    "usual": slices[len(slices) // 2],
}))
ended.set()
over.set()
gevent.joinall(parked)
app.close()
"""


def told(greenlets: int, threads: int, native: str) -> dict[str, Any]:
    said = python(PROGRAM, arguments=[str(greenlets), str(threads)], env={"RBKIT_NATIVE": native})
    answer: dict[str, Any] = json.loads(said)
    return answer


NATIVE = pytest.mark.parametrize("native", ["0"] if REASON else ["1", "0"], ids={"1": "native", "0": "python"}.get)


@NATIVE
def test_few_are_all_told(native: str) -> None:
    answer = told(50, 5, native)
    assert answer["whole"] == 50
    assert answer["threads"] == 5  # and never the thread that asks
    assert answer["left_out"] == [0, 0]


@NATIVE
def test_of_very_many_a_part_is_told_in_slices(native: str) -> None:
    answer = told(6000, 60, native)
    assert 2000 <= answer["greenlets"] <= 2010
    assert answer["whole"] > 1900
    # The hub and the greenlet that asks are among them, and the main one.
    assert answer["greenlets"] + answer["left_out"][1] == 6003
    assert answer["states"] == ["running", "waiting"]
    assert (answer["threads"], answer["left_out"][0]) == (60, 0)
    assert answer["slices"] > 20
    assert answer["usual"] < answer["total"] / 10
