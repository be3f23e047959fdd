"""The embedded server's Unix socket, for commands and publications: of this process's own sessions and of siblings.

Used by the server's thread alone. A lack of descriptors is an exception here, so it is a refusal and no more.
"""

from __future__ import annotations

import os

# Not socket.socket, which gevent may have patched.
from _socket import AF_UNIX, SHUT_RDWR, SOCK_STREAM
from _socket import socket as Socket  # noqa: N812 - a class, under its usual name
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

from ..errors import NoRoom, ProtocolError
from ..system.clock import time
from ..system.headroom import require_descriptors
from ..transport.wire import ACCEPTED, REFUSED, WANTS_COMMANDS, WANTS_PUBLICATIONS, Splitter, head

__all__ = ["Door"]

# Commands are short; a longer message is not for us.
MAX_COMMAND: Final = 64 * 1024
# Bytes that may wait for one slow listener: at snapshot_rate it may fall behind by seconds and lose nothing.
_BACKLOG: Final = 64 * 1024 * 1024
# Each takes a descriptor of the application's.
_MOST_CLIENTS: Final = 256
_QUEUE: Final = 128
# Seconds for a connection to say its purpose; and until the next attempt where none can be accepted.
_GREETING: Final = 5.0
_AGAIN: Final = 0.2
_READ: Final = 64 * 1024
_PARTS: Final = 64  # of one sendmsg(); the kernel takes 1024 (IOV_MAX)

_READABLE: Final = 1  # select.POLLIN
_WRITABLE: Final = 4  # select.POLLOUT


_serial = count(1)


class Visitor:
    """One connection.

    Args:
        connection: its socket, which does not wait.
        settle: called when it may have ended, or wants to be polled for another event.

    Attributes:
        client: a name for it, unique while the process lives.
    """

    def __init__(self, connection: Any, settle: Callable[[Visitor], None]) -> None:
        self._settle = settle
        self.client = f"local {next(_serial)}"
        self.socket = connection
        self.descriptor: int = connection.fileno()
        self.since = time.monotonic()
        self.purpose: bytes | None = None
        self.splitter = Splitter(MAX_COMMAND)
        self.commands: deque[bytes] = deque()
        self.busy = False  # a command is being done: answers come in the order of the commands
        self.gone = False
        self._unsent: deque[memoryview] = deque()
        self._size = 0

    @property
    def events(self) -> int:
        """Events to poll its descriptor for. The end of a connection is always told."""
        # Nor from a client that does not read its answers.
        reading = 0 if self.busy or self.commands or self._unsent else _READABLE
        return reading | (_WRITABLE if self._unsent else 0)

    def send(self, message: bytes, limit: int | None = None) -> bool:
        """Sends a message or keeps it for later; False when more than ``limit`` bytes wait already."""
        if limit is not None and self._size > limit:
            return False
        first = not self._unsent
        self._unsent += memoryview(head(len(message))), memoryview(message)
        self._size += len(message)
        if first:
            self.flush()
        return True

    def flush(self) -> None:
        """Sends as much as the kernel takes."""
        try:
            while self._unsent and not self.gone:
                sent = self.socket.sendmsg([part for part, _ in zip(self._unsent, range(_PARTS), strict=False)])
                self._size = max(0, self._size - sent)
                while self._unsent and sent >= len(self._unsent[0]):
                    sent -= len(self._unsent.popleft())
                if self._unsent:
                    self._unsent[0] = self._unsent[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.gone = True

    def read(self) -> None:
        """Reads what has come in."""
        try:
            data = self.socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.gone = True
            return
        try:
            self.splitter.feed(data)
            for message in self.splitter.messages():
                self._take(message)
        except ProtocolError:
            self.gone = True

    def _take(self, message: bytes) -> None:
        if self.purpose is not None:
            self.commands.append(message)
        elif message in (WANTS_COMMANDS, WANTS_PUBLICATIONS):
            self.purpose = message
            self.send(ACCEPTED)
        else:
            self.refuse("this is the socket of an embedded Rbkit server, for its siblings")

    def answer(self, message: bytes) -> None:
        """Answers its command; the next one may be done then. A client that has gone gets nothing."""
        self.busy = False
        if not self.gone:
            self.send(message)
            self._settle(self)

    def refuse(self, words: str) -> None:
        """Sends the reason and hangs up."""
        self.send(REFUSED + words.encode())
        self.gone = True

    def close(self) -> None:
        """Gives the descriptor back; the client knows at once, even where a forked child has a copy of it."""
        self.gone = True
        try:
            self.socket.shutdown(SHUT_RDWR)
        except OSError:
            pass  # the client was faster
        self.socket.close()


class Door:
    """Listens at a path; new ones are polled with ``poll`` from then on.

    Args:
        path: of the socket; the directory is the user's own and open to no other user.
        poll: a ``select.poll`` object.

    Attributes:
        listeners: connections that get publications.
        left: clients that sent commands and have gone; the owner empties it.

    Raises:
        OSError: it cannot be bound.
    """

    def __init__(self, path: str, poll: Any) -> None:
        self._poll = poll
        self._clients: dict[int, Visitor] = {}
        self.listeners: set[Visitor] = set()
        self.left: list[str] = []
        self._again: float | None = None
        self._spare: int | None = None
        self._socket: Any = Socket(AF_UNIX, SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._socket.bind(path)
            self._socket.listen(_QUEUE)
            # Given up where there is no descriptor to accept with, so that a refusal can be told.
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._socket.close()
            raise
        self._poll.register(self._socket.fileno(), _READABLE)

    @property
    def used(self) -> bool:
        """Whether there is a connection."""
        return bool(self._clients)

    def shut(self) -> None:
        """Accepts no further connections."""
        if self._again is None and self._socket.fileno() >= 0:
            self._poll.unregister(self._socket.fileno())
        self._again = None
        self._socket.close()
        self._close_spare()

    @property
    def deadline(self) -> float | None:
        """The monotonic time of the next look without news; None: never."""
        return self._again

    @property
    def ready(self) -> bool:
        """Whether a command waits that has been read already."""
        return any(client.commands and not client.busy for client in self._clients.values())

    def handle(self, descriptor: int, events: int) -> None:
        """Handles poll's news of a descriptor, if it is one of ours."""
        if descriptor == self._socket.fileno():
            self._accept_all()
        elif (client := self._clients.get(descriptor)) is not None:
            client.flush()
            if events & _READABLE:
                client.read()
            elif events & ~_WRITABLE:
                client.gone = True  # it has hung up
            self._settle(client)

    def turn(self) -> None:
        """Once a turn: listens again where no descriptor could be had before."""
        if self._again is not None and time.monotonic() >= self._again:
            self._again = None
            self._poll.register(self._socket.fileno(), _READABLE)

    def commands(self) -> Iterator[tuple[str, Visitor]]:
        """One command of each client that waits for none."""
        for client in tuple(self._clients.values()):
            if client.commands and not client.busy:
                client.busy = True
                yield client.commands.popleft().decode("utf-8", "replace"), client

    def publish(self, message: bytes) -> None:
        """Sends to all listeners; one too far behind loses the message, which the message's counter tells."""
        for client in tuple(self.listeners):
            client.send(message, _BACKLOG)
            self._settle(client)

    def close(self) -> None:
        """Ends all connections and stops listening."""
        for client in tuple(self._clients.values()):
            client.flush()
            self._drop(client)
        self.shut()

    def after_in_child(self) -> None:
        """Closes the copies in a forked child. The parent's connections go on."""
        for client in self._clients.values():
            client.socket.close()
        self._clients.clear()
        self.listeners.clear()
        self._socket.close()
        self._close_spare()

    def _accept_all(self) -> None:
        while True:
            try:
                connection = self._accept()
            except BlockingIOError:
                return
            except OSError:
                self._no_descriptor()
                return
            client = Visitor(connection, self._settle)
            self._clients[client.descriptor] = client
            self._poll.register(client.descriptor, client.events)
            self._tidy()
            try:
                require_descriptors(0)
                if len(self._clients) > _MOST_CLIENTS:
                    raise NoRoom(f"{_MOST_CLIENTS} others are connected to this server already")
            except NoRoom as error:
                client.refuse(str(error))
            self._settle(client)

    def _accept(self) -> Any:
        descriptor, _ = self._socket._accept()
        connection = Socket(fileno=descriptor)
        connection.setblocking(False)
        return connection

    def _no_descriptor(self) -> None:
        """Refuses with the spare descriptor, so that no client waits in vain; then gives the application time."""
        self._close_spare()
        try:
            connection = self._accept()
        except OSError:
            pass  # another thread has taken it
        else:
            Visitor(connection, self._settle).refuse(
                "no file descriptor is left in its process; raise its limit (ulimit -n)"
            )
            connection.close()
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass
        # A listener that is ready and cannot accept would make the thread spin.
        self._poll.unregister(self._socket.fileno())
        self._again = time.monotonic() + _AGAIN

    def _close_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)

    def _tidy(self) -> None:
        """Removes connections that never said their purpose."""
        old = time.monotonic() - _GREETING
        silent = [client for client in self._clients.values() if client.purpose is None and client.since < old]
        for client in silent:
            client.read()  # it may have been said while this process stood still
        for client in silent:
            client.gone = client.gone or client.purpose is None
            self._settle(client)

    def _settle(self, client: Visitor) -> None:
        if client.gone:
            self._drop(client)
            return
        if client.purpose == WANTS_PUBLICATIONS:
            self.listeners.add(client)
        self._poll.modify(client.descriptor, client.events)

    def _drop(self, client: Visitor) -> None:
        if self._clients.pop(client.descriptor, None) is not None:
            self._poll.unregister(client.descriptor)
            self.listeners.discard(client)
            if client.purpose == WANTS_COMMANDS:
                self.left.append(client.client)
            client.close()
