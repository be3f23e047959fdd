"""An embedded server on TCP ports as a process, which tests may freeze or kill; with CURVE if they say so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from .ports import free_port

CODE = """
import sys
from rbkit_websocket import start_server
assert start_server(int(sys.argv[1]), int(sys.argv[2]))
print("up", flush=True)
sys.stdin.read()
"""


class TcpServer:
    """A context manager.

    Args:
        prefix: what stands before the command: ``ip netns exec NAME``.
        host: where it is reached, in :attr:`address`.
        ports: PUB and REQ; free ones by default.
        env: ``RBKIT_...`` variables.
    """

    def __init__(
        self,
        *,
        prefix: Sequence[str] = (),
        host: str = "127.0.0.1",
        ports: Sequence[int] = (),
        **env: str,
    ) -> None:
        self.pub, self.req = ports or (free_port(), free_port())
        self.address = f"tcp://{host}:{self.pub},{self.req}"
        self._command = [*prefix, sys.executable, "-c", CODE, str(self.pub), str(self.req)]
        self._env = {**os.environ, **env}
        self.process: Any = None

    def start(self) -> TcpServer:
        self.process = subprocess.Popen(
            self._command, env=self._env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline() == "up\n", "the server did not start"
        return self

    def stop(self) -> None:
        """Ends it as its program would; :meth:`start` brings it back on the same ports."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait(20)
            self.process.stdout.close()
            self.process = None

    def __enter__(self) -> TcpServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
