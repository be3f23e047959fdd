"""The commands of one session, one after the other, through a wire of its own.

The wire tells at once when the Rbkit server is gone, so no command in flight waits in vain.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Final

import gevent

from ..protocol.constants import OK
from ..system.clock import time
from ..transport.curve import ClientKeys
from ..websocket.outbox import Outbox
from .guard import is_harmful
from .hoard import Flooded
from .readiness import Readiness
from .wires import command_wire

__all__ = ["NOT_RUNNING", "CommandQueue"]

log = logging.getLogger(__name__)

NOT_RUNNING: Final = "Rbkit server is not running"

# Answers that a client has not read yet, beyond which its next command waits.
_UNREAD_ANSWERS: Final = 4 * 1024 * 1024

# Wishes that an embedded server keeps for its client until a goodbye; other servers get none.
_WISHES: Final = (b"set_cpu_interval ", b"wait_profile ")
_GOODBYE: Final = b"goodbye"


class CommandQueue:
    """Pumps commands to the Rbkit server and its answers back, in order.

    Args:
        endpoint: the server's endpoint for commands.
        outbox: sends the answers; it slows the commands of a client that does not read them.
        answer: gets each answer.
        fail: gets close code and reason when the session cannot go on.
        command_timeout: seconds for one command.
        connect_timeout: seconds to wait for a server that went away.
        max_commands: commands that may wait.
        max_answer: bytes that an answer over ZeroMQ may have.
        keys: for a server that speaks CURVE.

    Raises:
        NoRoom, OSError, zmq.ZMQError: see :func:`~.wires.command_wire`.
    """

    def __init__(
        self,
        endpoint: str,
        outbox: Outbox,
        answer: Callable[[bytes], None],
        fail: Callable[[int, str], None],
        *,
        command_timeout: float,
        connect_timeout: float,
        max_commands: int,
        max_answer: int,
        keys: ClientKeys | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._outbox = outbox
        self._answer = answer
        self._fail = fail
        self._command_timeout = command_timeout
        self._connect_timeout = connect_timeout
        self._max_commands = max_commands
        self._pid = os.getpid()
        self._waiting: deque[bytes] = deque()
        self._flying: bytes | None = None
        self._has_wishes = False
        self._deadline: float | None = None
        self._worker: gevent.Greenlet[..., None] | None = None
        self._losses = 0
        self._wire = command_wire(endpoint, keys, max_answer)
        self._readiness = Readiness(*self._wire.descriptors)

    def connect(self) -> str | None:
        """Waits for the server. Commands are taken from now on.

        Returns:
            None, or why it cannot be reached.

        Raises:
            Flooded: see :meth:`~.wires.Wire.look`.
        """
        deadline = time.monotonic() + self._connect_timeout
        while os.getpid() == self._pid:
            self._wire.look()
            if self._wire.up:
                self._worker = gevent.spawn(self._run)
                return None
            remaining = deadline - time.monotonic()
            if self._wire.refusal is not None:
                return f"the Rbkit server refused the link: {self._wire.refusal}"
            if self._wire.unreachable:
                return f"{NOT_RUNNING} at {self._endpoint}"
            if remaining <= 0:
                # The endpoint last, since a close frame may cut it off.
                return f"{NOT_RUNNING} or not reachable: no answer in {self._connect_timeout:g} s at {self._endpoint}"
            self._readiness.wait(remaining, self._wire.events)
        return NOT_RUNNING  # a fork of the application has copied this greenlet

    def submit(self, command: bytes) -> None:
        """Queues a command; a client with too many of them waiting is failed with 1008."""
        if len(self._waiting) >= self._max_commands:
            self._fail(1008, f"more than {self._max_commands} commands are waiting; wait for the answers")
            return
        self._waiting.append(command)
        self._readiness.notify()

    def close(self) -> None:
        """Closes the wire; joins the greenlet first since it uses the wire."""
        if os.getpid() != self._pid:
            return  # a fork of the application: ZeroMQ's sockets are the parent's and must not be touched
        if self._worker is not None:
            self._worker.kill()
        self._readiness.close()
        # Not with a command in flight, since the next one would go through another connection.
        self._wire.close(_GOODBYE if self._has_wishes and self._flying is None else None)

    def _run(self) -> None:
        try:
            while os.getpid() == self._pid and self._step():
                pass
        except Flooded as flooded:
            self._fail(1011, str(flooded))
            # Now, since libzmq keeps incoming messages until the client has closed the connection.
            self._readiness.close()
            self._wire.close()
        except Exception:  # a boundary: the client hears of it, the application does not
            log.exception("rbkit: a command failed in the bridge")
            self._fail(1011, "internal error of the bridge; see the server's log")

    def _step(self) -> bool:
        """Looks once at wire, commands and deadlines; False when the session has been failed."""
        self._wire.look()
        if self._flying is not None:
            reply = self._wire.receive()
            if reply is not None:
                self._flying = self._deadline = None
                self._answer(reply)
                return True
            if self._wire.losses != self._losses and not self._wire.undecided:
                return self._give_up(1011, "the Rbkit server went away with a command in flight")
        elif self._wire.up:
            self._deadline = None
            if self._waiting:
                self._outbox.wait_for_room(_UNREAD_ANSWERS)
                return self._do(self._waiting.popleft())
        elif self._wire.final:
            return self._give_up(1011, f"{NOT_RUNNING} any more")
        elif self._deadline is None:
            # The wire tries again and again; the server may just be restarting.
            self._deadline = time.monotonic() + self._connect_timeout
        remaining = None if self._deadline is None else self._deadline - time.monotonic()
        if remaining is not None and remaining <= 0:
            if self._flying is None:
                return self._give_up(1011, f"{NOT_RUNNING} any more")
            name = self._flying[:40].decode("utf-8", "replace")
            return self._give_up(1011, f"no answer to {name!r} within {self._command_timeout:g} s")
        patience = self._wire.patience
        self._readiness.wait(min(remaining or patience, patience) if patience else remaining, self._wire.events)
        return True

    def _do(self, command: bytes) -> bool:
        if os.getpid() != self._pid:
            return False  # a fork of the application has copied this greenlet while it waited for room
        if is_harmful(command):
            self._answer(OK)
            return True
        # First: a loss that comes with the attempt counts.
        self._losses = self._wire.losses
        if not self._wire.send(command):
            return self._give_up(1011, f"{NOT_RUNNING} any more")
        self._flying = command
        self._has_wishes = self._has_wishes or command.startswith(_WISHES)
        self._deadline = time.monotonic() + self._command_timeout
        return True

    def _give_up(self, code: int, reason: str) -> bool:
        self._fail(code, reason)
        return False
