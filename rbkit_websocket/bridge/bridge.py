"""Wires one session to one Rbkit server and takes the wires apart again."""

from __future__ import annotations

import logging
from functools import partial

import zmq

from ..errors import NoRoom
from ..options.table import Settings
from ..protocol import envelope
from ..transport.curve import ClientKeys
from ..websocket.session import Session
from .command_queue import NOT_RUNNING, CommandQueue
from .feed import Feed
from .framing import binary_frame, text_pieces
from .hoard import Flooded

__all__ = ["Bridge"]

log = logging.getLogger(__name__)


class Bridge:
    """Commands of a session to the server's REQ side, answers and publications back.

    Args:
        session: an open connection.
        pub_endpoint: the server's endpoint for publications.
        req_endpoint: its endpoint for commands.
        settings: time-outs and caps.
        text: whether frames are text, for old browser clients.
        keys: for a server that speaks CURVE.
    """

    def __init__(
        self,
        session: Session,
        pub_endpoint: str,
        req_endpoint: str,
        settings: Settings,
        *,
        text: bool,
        keys: ClientKeys | None = None,
    ) -> None:
        self._session = session
        self._pub_endpoint = pub_endpoint
        self._req_endpoint = req_endpoint
        self._settings = settings
        self._keys = keys
        self.text = text
        self.outbox = session.outbox

    def run(self) -> None:
        """Serves the session until it ends. The Rbkit server's absence closes it with 1013."""
        session, settings = self._session, self._settings
        feed: Feed | None = None
        commands: CommandQueue | None = None
        try:
            try:
                commands = CommandQueue(
                    self._req_endpoint,
                    session.outbox,
                    self._answer,
                    session.close,
                    command_timeout=settings.command_timeout,
                    connect_timeout=settings.connect_timeout,
                    max_commands=settings.max_commands,
                    max_answer=settings.max_server_message,
                    keys=self._keys,
                )
                # Commands first: a server that does not answer is not running, and no listener is told of this client.
                if (problem := commands.connect()) is None:
                    feed = Feed.join(self._pub_endpoint, self, self._keys, settings.max_server_message)
                    if not feed.wait_connected(settings.connect_timeout):
                        problem = feed.refusal or f"{NOT_RUNNING}: nothing publishes at {self._pub_endpoint}"
                        session.close(1013, problem)
                else:
                    session.close(1013, problem)
            except Flooded as flooded:
                session.close(1011, str(flooded))
            except NoRoom as error:
                session.close(1013, str(error))
                log.warning("rbkit: no session: %s", error)
            except (OSError, zmq.ZMQError) as error:
                session.close(1011, f"cannot connect to the Rbkit server: {error.strerror}")
                log.error("rbkit: cannot connect to %s and %s: %s", self._req_endpoint, self._pub_endpoint, error)
            for message in session.messages():
                if commands is not None:
                    commands.submit(message)
        finally:
            # Commands first: an answer that arrives now must not find its way into a feed's listener half gone.
            try:
                if commands is not None:
                    commands.close()
            finally:
                if feed is not None:
                    feed.leave(self)

    def send_text(self, text: str) -> None:
        """Sends a notice as a text message."""
        self._session.send_text(text)

    def give_up(self, reason: str) -> None:
        """Ends the session: no more publications will come."""
        self._session.close(1011, reason)

    def _answer(self, reply: bytes) -> None:
        if self.text:
            self.outbox.send_later(partial(text_pieces, envelope.ANSWER, reply), len(reply))
        else:
            self.outbox.send(binary_frame(envelope.ANSWER, reply))
