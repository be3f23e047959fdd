"""Frames a second through the bridge, side by side with a plain one: ``python benchmarks/bridge.py [ROUNDS]``.

A publisher, a bridge and the clients are processes of their own on loopback. The plain bridge is what one writes
first: a SUB socket a client (``zmq.green``) and gevent-websocket's ``send``. Both run in turns (A B A B ...); medians
and their ratio are printed, and the CPU time of the bridge's process a frame, which counts where the clients are the
limit.
"""

from __future__ import annotations

import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import zmq

CASES = (  # bytes of a message, messages, clients
    (200, 40_000, 1),
    (200, 20_000, 100),
    (20_000, 2_000, 10),
    (1_000_000, 100, 1),
    (1_000_000, 10, 30),
)
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: rbkit\r\n\r\n"
)


def serve(kind: str, directory: str) -> None:
    """The bridge under test, in its process; prints its port."""
    from gevent import monkey

    monkey.patch_all()
    import logging

    from gevent.pywsgi import WSGIServer

    logging.disable()
    pub, req = f"ipc://{directory}/pub", f"ipc://{directory}/req"
    options: dict[str, object] = {}
    if kind == "ours":
        from rbkit_websocket import RbkitWebsocket

        application = RbkitWebsocket(
            lambda environ, start_response: [],
            token=False,
            pub_endpoint=pub,
            req_endpoint=req,
            runtime_dir=directory,
            max_sessions=1000,
            backlog=1 << 30,
        )
    else:
        import zmq.green
        from geventwebsocket.handler import WebSocketHandler

        context = zmq.green.Context()
        options["handler_class"] = WebSocketHandler

        def application(environ, start_response):  # type: ignore[no-untyped-def]
            websocket = environ["wsgi.websocket"]
            subscriber = context.socket(zmq.SUB)
            subscriber.rcvhwm = 0
            subscriber.subscribe(b"")
            subscriber.connect(pub)
            while True:
                websocket.send(b"1" + subscriber.recv(), binary=True)

    server = WSGIServer(("127.0.0.1", 0), application, log=None, **options)
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()


def clients(port: int, count: int) -> list[socket.socket]:
    """That many connected clients, past their handshake."""
    connected = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(REQUEST)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += client.recv(1)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        connected.append(client)
    return connected


def receive(connected: list[socket.socket], expected: int) -> float:
    """Reads ``expected`` bytes from each; seconds from the first to the last."""
    poller = select.epoll()
    missing = {client.fileno(): expected for client in connected}
    by_number = {client.fileno(): client for client in connected}
    for number in missing:
        poller.register(number, select.EPOLLIN)
    first = 0.0
    while missing:
        ready = poller.poll(30)
        assert ready, f"nothing more arrives, {sum(missing.values())} bytes are missing"
        first = first or time.perf_counter()
        for number, _ in ready:
            missing[number] -= len(by_number[number].recv(1 << 20))
            if missing[number] <= 0:
                poller.unregister(number)
                del missing[number]
    return time.perf_counter() - first


def measure(kind: str, size: int, messages: int, count: int) -> tuple[float, float]:
    """Frames a second over all clients, and microseconds of the bridge's CPU a frame."""
    head = 1 + (1 if size + 1 < 126 else 3 if size + 1 < 65536 else 9)
    with tempfile.TemporaryDirectory(prefix="rbb") as directory, zmq.Context() as context:
        publisher, replier = context.socket(zmq.XPUB), context.socket(zmq.REP)
        publisher.sndhwm = 0
        publisher.linger = replier.linger = 0
        publisher.bind(f"ipc://{directory}/pub")
        replier.bind(f"ipc://{directory}/req")
        bridge = subprocess.Popen(
            [sys.executable, __file__, "serve", kind, directory], stdout=subprocess.PIPE, text=True
        )
        try:
            assert bridge.stdout is not None
            connected = clients(int(bridge.stdout.readline()), count)
            # XPUB tells of the first subscription only; the others of the plain bridge get half a second.
            publisher.recv()
            process = psutil.Process(bridge.pid)
            time.sleep(0.5)
            before = sum(process.cpu_times()[:2])
            message = os.urandom(size)
            reader = subprocess_receive(connected, messages * (size + 1 + head))
            for _ in range(messages):
                publisher.send(message, copy=False)
            seconds = reader()
            used = sum(process.cpu_times()[:2]) - before
            for client in connected:
                client.close()
            frames = messages * count
            return frames / seconds, used / frames * 1e6
        finally:
            bridge.kill()
            bridge.wait()
            publisher.close()
            replier.close()


def subprocess_receive(connected: list[socket.socket], expected: int):  # type: ignore[no-untyped-def]
    """Starts receiving in a forked process; the result waits for it and gives the seconds."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, repr(receive(connected, expected)).encode())
        finally:
            os._exit(0)
    os.close(writing)

    def result() -> float:
        with open(reading) as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        return float(answer)

    return result


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print("  message clients  frames/s ours     plain  ratio   CPU us ours   plain")
    for size, messages, count in CASES:
        results: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
        for _ in range(rounds):
            for kind, result in results.items():
                result.append(measure(kind, size, messages, count))
        ours, plain = ([statistics.median(column) for column in zip(*results[kind], strict=True)] for kind in results)
        print(
            f"{size:>9} {count:>7}  {ours[0]:>13,.0f} {plain[0]:>9,.0f} {ours[0] / plain[0]:>6.1f}   "
            f"{ours[1]:>11.1f} {plain[1]:>7.1f}"
        )


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]
    main()
