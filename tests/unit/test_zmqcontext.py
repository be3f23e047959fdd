"""The application's libzmq context: a worker with many sessions has sockets for each of them."""

from __future__ import annotations

from support.program import run

# libzmq gives a context 1023 sockets unless it is told otherwise before its first one; later it does not listen.
PROGRAM = """
import resource, zmq
from rbkit_websocket.transport import zmqcontext
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65536, hard))
context = zmqcontext.new_context()
sockets = []
try:
    while len(sockets) < {wanted}:
        sockets.append(context.socket(zmq.PAIR))
except zmq.ZMQError as error:
    print(error)
print(len(sockets), context.get(zmq.MAX_SOCKETS))
context.destroy(0)
"""


def test_a_context_has_more_sockets_than_libzmq_gives_by_default() -> None:
    result = run(PROGRAM.format(wanted=1500))
    assert result.stdout.split() == ["1500", "32768"], result.stdout + result.stderr
