"""The blocking client: commands and their answers, publications and notices over one WebSocket."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from ..errors import ClientError, CommandFailed, CommandTimeout, ConfigurationError, ConnectionClosed, RbkitError
from ..protocol import envelope
from ..protocol.messages import Event, decode_answer, decode_publication, named
from ..system.clock import time
from .address import parse_url
from .connection import Connection, open_connection
from .publications import Publications, thinned

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Client", "connect"]

BACKLOG: Final = 64 * 1024 * 1024
"""Bytes of publications that wait for their reader; the server keeps as many for a slow client."""

MAX_MESSAGE: Final = 64 * 1024 * 1024
"""Bytes that a message may have; no publication that is longer would find room on its way here."""

_NORMAL: Final = (1000, 1001)  # done; the server goes away in good order
_CLOSE_WAIT: Final = 2.0
_SNAPSHOT_LOOK: Final = 0.05
_NOTICE: Final = re.compile(r"0([a-z_]+):(\d{1,18})")


def connect(
    url: str,
    *,
    token: str | None = None,
    server: str | None = None,
    timeout: float = 10.0,
    ssl: SSLContext | None = None,
    max_message: int = MAX_MESSAGE,
) -> Client:
    """Opens a WebSocket to the Rbkit server behind ``url``.

    Args:
        url: ``ws://``, ``wss://``, ``http://`` or ``https://``, any path of the application; its own query is kept, and
            the dashboard's address with ``#token=...`` works as it is.
        token: the application's token, sent in the ``Authorization`` header; default: the one in ``url``, if any.
        server: the id of the worker's server to reach; default: the server of the worker that takes the connection.
        timeout: seconds for connecting in all, and for a command without a time-out of its own.
        ssl: the TLS context, such as ``ssl.create_default_context(cafile="ca.pem")`` for a certificate of one's own
            authority; default: the system's trust, or the file that the environment names in ``SSL_CERT_FILE``.
        max_message: bytes that one message of the server may have; a longer one ends the connection (1009) unread.

    Raises:
        ConfigurationError: ``url`` or ``token`` cannot work, or ``ssl`` comes with an ``url`` without TLS.
        ConnectionRefused: HTTP status and words of the server; status None when there was no answer.
    """
    address = parse_url(url, token=token, server=server)
    if ssl is not None and not address.secure:
        raise ConfigurationError(f"ssl is for wss:// and https:// addresses, which {url!r} is not")
    return Client(open_connection(address, timeout, ssl, max_message=max_message), timeout=timeout)


class _Pending:
    """A command that was sent: its place in the line, then its answer."""

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer: bytes | None = None


class Client:
    """An open connection to an Rbkit server; :func:`connect` returns it.

    A thread of its own reads (a greenlet where threads are patched by gevent): it answers the server's pings however
    long the program is busy elsewhere. Commands may come from any number of threads; one thread iterates. Close it,
    or use it as a context manager.

    Attributes:
        timeout: seconds that a command may take by default.
        client_count: clients of this server's WebSockets as last told by the server, or None.
        dropped: publications that the bridge has lost, most often because this client was slow, as last told by it.
    """

    def __init__(self, connection: Connection, *, timeout: float = 10.0, backlog: int = BACKLOG) -> None:
        self.timeout = timeout
        self.client_count: int | None = None
        self.dropped = 0
        self._connection = connection
        self._publications = Publications(backlog)
        self._events: deque[Event] = deque()
        self._pending: deque[_Pending] = deque()
        self._sending = threading.Lock()  # commands leave in the order in which their answers are awaited
        self._changed = threading.Condition()  # guards the reader's state
        self._end: ClientError | None = None
        self._closing = False
        self._reader = threading.Thread(target=self._read, name="rbkit-client", daemon=True)
        self._reader.start()

    @property
    def lost(self) -> int:
        """Publications lost since the first one came: on the way (gaps of the message counter) or unread in here."""
        return self._publications.lost

    @property
    def closed(self) -> ClientError | None:
        """The error that ended the connection, mostly a :class:`ConnectionClosed`; None while open."""
        return self._end

    def command(self, text: str, timeout: float | None = None) -> bytes | dict[Any, Any]:
        """Sends a command and waits for its answer.

        Args:
            text: ``handshake``, ``trigger_gc``, ``cpu_profile 17``, ...
            timeout: seconds; default: :attr:`timeout`.

        Returns:
            ``b"ok"``, or the map that the command answers (a ``handshake`` with its fields by name).

        Raises:
            CommandFailed: the answer is an error.
            CommandTimeout: no answer came in time. The connection goes on; a late answer is left out.
            ConnectionClosed: the connection has ended.
            ProtocolError: the answer cannot be read.
        """
        seconds = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        pending = _Pending()
        with self._sending:
            with self._changed:
                self._raise_if_ended()
                self._pending.append(pending)
            try:
                self._connection.send(text)
            except ConnectionClosed:
                # The reader knows the reason: the server's close code came before our message failed.
                self._reader.join(_CLOSE_WAIT)
                self._raise_if_ended()
                raise
        with self._changed:
            self._changed.wait_for(
                lambda: pending.answer is not None or self._end is not None, deadline - time.monotonic()
            )
            if pending.answer is None:
                self._raise_if_ended()
                raise CommandTimeout(text, seconds)
        answer = decode_answer(pending.answer)
        if isinstance(answer, dict) and "error" in answer:
            raise CommandFailed(text, str(answer["error"]), str(answer.get("message", "no reason given")))
        return answer

    def handshake(self) -> dict[str, Any]:
        """Facts about the server: version, process name, pid, clock, profilers that are on, ...

        Raises:
            ClientError: the answer is no handshake; and errors of :meth:`command`.
        """
        answer = self.command("handshake")
        payload = answer.get("payload") if isinstance(answer, dict) else None
        if not isinstance(payload, dict):
            raise ClientError("the server did not answer the handshake with a handshake")
        return payload

    def snapshot(
        self, progress: Callable[[int, int | None], object] | None = None
    ) -> Iterator[list[dict[str | int, Any]]]:
        """A snapshot of the heap, pulled chunk by chunk: lists of at most 1000 objects, their fields by name.

        Args:
            progress: called with the number of objects so far and of all (None: not known yet), first while
                the server makes the snapshot, then while it is pulled.

        Raises:
            CommandFailed: the server refuses the snapshot, or it failed.
            ClientError: the server does not know snapshots; and errors of :meth:`command`.
        """
        facts = self._snapshot_facts("snapshot_start")
        while facts.get("state") == "running":
            if progress is not None:
                progress(facts["objects_so_far"], facts["objects_expected"])
            with self._changed:
                self._changed.wait_for(lambda: self._end is not None, _SNAPSHOT_LOOK)
            facts = self._snapshot_facts(f"snapshot_status {facts['id']}")
        if facts.get("state") != "done":
            raise CommandFailed("snapshot_start", "failed", str(facts.get("message", "no reason given")))
        pulled = 0
        for number in range(facts["chunks"]):
            objects = named(self._snapshot_facts(f"snapshot_chunk {facts['id']} {number}")["objects"])
            pulled += len(objects)
            if progress is not None:
                progress(pulled, facts["objects"])
            yield objects

    def _snapshot_facts(self, command: str) -> dict[Any, Any]:
        answer = self.command(command)
        if not isinstance(answer, dict):
            raise ClientError("the server knows no snapshot_start; objectspace_snapshot may do")
        return answer

    def __iter__(self) -> Iterator[Event]:
        """Events as they come. A normal close (1000, 1001, or our own) ends the iteration.

        Raises:
            ConnectionClosed: any other close.
            ProtocolError: a publication cannot be read; iterate again to go on behind it.
        """
        return self.events()

    def events(self, timeout: float | None = None, kinds: Collection[int] | None = None) -> Iterator[Event]:
        """Events as they come; otherwise like iteration.

        Args:
            timeout: seconds, after which the message at hand is the last; None for no end.
            kinds: event types to give; others are thrown away undecoded. None for all.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        message: bytes | None = b""
        while message is not None:
            while self._events:
                event = self._events.popleft()
                if kinds is None or event.type in kinds:
                    yield event
            # Checked for each message, not only when none waits: messages may come faster than they are taken.
            if message and deadline is not None and time.monotonic() >= deadline:
                return
            message = self._next_publication(deadline)
            if message is not None:
                content = message if kinds is None else thinned(message, kinds)
                self._events.extend(decode_publication(content).events)

    def close(self) -> None:
        """Ends the connection with the closing handshake, within 2 s. Closing twice is fine."""
        self._closing = True
        self._connection.close()
        self._reader.join(_CLOSE_WAIT)
        if self._reader.is_alive():
            self._connection.abort()
            self._reader.join(_CLOSE_WAIT)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next_publication(self, deadline: float | None) -> bytes | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._publications or self._end is not None,
                None if deadline is None else deadline - time.monotonic(),
            )
            if self._publications:
                return self._publications.popleft()
            ended = self._end
        if ended is None or self._closing or (isinstance(ended, ConnectionClosed) and ended.code in _NORMAL):
            return None
        # All callers get one exception object: without this its traceback would grow with each of them.
        raise ended.with_traceback(None)

    def _raise_if_ended(self) -> None:
        if self._end is not None:
            raise self._end.with_traceback(None)

    def _read(self) -> None:
        """The reader thread: sorts messages until the connection ends, and then wakes waiting threads."""
        end: ClientError = ClientError("the reading thread failed; its traceback says why")
        try:
            while True:
                message = self._connection.receive()
                with self._changed:
                    self._take(message)
                    self._changed.notify_all()
        except ClientError as error:
            end = error
        except RbkitError as error:
            end = ClientError(f"the server does not speak the protocol: {error}")
        finally:
            self._connection.close(1002 if not isinstance(end, ConnectionClosed) else 1000)
            with self._changed:
                self._end = end
                self._changed.notify_all()
            self._connection.release()

    def _take(self, message: bytes | str) -> None:
        if isinstance(message, str):
            self._notice(message)
            return
        channel, content = envelope.split(message)
        if channel == envelope.PUBLICATION:
            self._publications.append(content)
        elif self._pending:
            self._pending.popleft().answer = content
        else:
            raise ClientError("the server sent an answer to no command")

    def _notice(self, text: str) -> None:
        notice = _NOTICE.fullmatch(text)
        if notice is None:
            raise ClientError(
                "the server sends text frames, which are for old browser clients: connect without frames=text"
            )
        kind, number = notice[1], int(notice[2])
        if kind == "client_count":
            self.client_count = number
        elif kind == "dropped":
            self.dropped = number
