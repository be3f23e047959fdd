"""One WebSocket to an Rbkit server: opening it, whole messages in, text out, close codes both ways.

Built on the library websocket-client. This module uses its single frames, because its message functions lose the
close code and answer a close frame twice.
"""

from __future__ import annotations

import selectors
import ssl
import struct
import threading
from contextlib import nullcontext
from typing import Any, Final

import websocket
from websocket import ABNF

from ..errors import ClientError, ConnectionClosed, ConnectionRefused
from ..protocol.constants import SUBPROTOCOL
from ..system.clock import time
from .address import Address
from .bounded_frames import BoundedFrames, TooLong
from .opening import Opening, reach

__all__ = ["Connection", "open_connection"]

_BODY_SHOWN: Final = 2000
_LOCATION_SHOWN: Final = 200
_IS_IT_THERE: Final = (
    "Is RbkitWebsocket around its application, and does every proxy in between pass the headers Upgrade and "
    "Connection on?"
)

Message = bytes | str


def open_connection(
    address: Address, timeout: float, context: ssl.SSLContext | None = None, *, max_message: int
) -> Connection:
    """Connects, asks for the upgrade and checks the answer.

    Args:
        timeout: seconds for all of that, and later for a send.
        context: the TLS context; default: the system's trust.
        max_message: bytes that a message of the server may have.

    Raises:
        ConnectionRefused: with the HTTP status and the server's words, or with status None when there was no answer.
    """
    deadline = time.monotonic() + timeout
    ws = websocket.WebSocket(enable_multithread=True, skip_utf8_validation=True)
    options: dict[str, Any] = {
        "subprotocols": [SUBPROTOCOL],
        # A program has no origin; a wrong one would be refused as a foreign page's.
        "suppress_origin": True,
        # The library would send the token to any host that a redirect names.
        "redirect_limit": 0,
        "header": [f"Authorization: Bearer {address.token}"] if address.token else [],
    }
    try:
        sock = reach(address, deadline, context)
        ws.connect(address.url, socket=Opening(sock, deadline), **options)  # type: ignore[no-untyped-call]
    except websocket.WebSocketBadStatusException as error:
        raise ConnectionRefused(error.status_code, _words(error)) from None
    except (websocket.WebSocketTimeoutException, TimeoutError):
        raise ConnectionRefused(None, f"no answer from {address.host}:{address.port} within {timeout:g} s") from None
    except OSError as error:
        raise _refused(address, ws, error) from error
    except (websocket.WebSocketException, ValueError) as error:
        # Not chained: its text may be the server's.
        raise _refused(address, ws, error) from None
    ws.sock = sock
    if ws.getstatus() != 101 or ws.getsubprotocol() != SUBPROTOCOL:
        ws.shutdown()  # type: ignore[no-untyped-call]
        raise _refused(address, ws, None)
    return Connection(ws, timeout, max_message)


def _words(error: websocket.WebSocketBadStatusException) -> str:
    body = (error.resp_body or b"").decode("utf-8", "replace").strip()
    words: str = body[:_BODY_SHOWN] or error.status_message or "no reason given"
    if error.status_code in (200, 404) and not words.startswith("rbkit: "):
        # The application's own answer: for it this was a plain request.
        return f"nothing here upgrades to the WebSocket subprotocol {SUBPROTOCOL!r}. {_IS_IT_THERE} It said: {words}"
    return words


def _refused(address: Address, ws: websocket.WebSocket, error: Exception | None) -> ConnectionRefused:
    place = f"{address.host}:{address.port}"
    status = ws.getstatus()
    if status is not None and status != 101:
        target = (ws.getheaders() or {}).get("location", "another place")[:_LOCATION_SHOWN]
        return ConnectionRefused(status, f"redirected to {target}; connect there if you trust it with the token")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionRefused(
            None,
            f"{place}: {error.strerror or error}; for a certificate of your own authority give "
            "ssl=ssl.create_default_context(cafile=...), or set SSL_CERT_FILE",
        )
    if isinstance(error, OSError):
        return ConnectionRefused(None, f"{place}: {error.strerror or error}")
    if isinstance(error, websocket.WebSocketAddressException):
        return ConnectionRefused(None, f"{place}: {error}")
    if isinstance(error, websocket.WebSocketConnectionClosedException):
        return ConnectionRefused(None, f"{place} closed the connection without an HTTP answer")
    return ConnectionRefused(
        None,
        f"{place} did not upgrade to the WebSocket subprotocol {SUBPROTOCOL!r}"
        f"{f' ({error})' if error else ''}. {_IS_IT_THERE}",
    )


class Connection:
    """An open WebSocket. One thread may receive while others send.

    Args:
        ws: connected, with the subprotocol agreed on.
        timeout: seconds that a send may take.
        max_message: bytes that a message may have, all fragments together.
    """

    def __init__(self, ws: websocket.WebSocket, timeout: float, max_message: int) -> None:
        self._ws = ws
        ws.settimeout(timeout)
        self._max_message = max_message
        self._frames = ws.frame_buffer = BoundedFrames(ws.frame_buffer.recv, max_message)
        self._close_sent = threading.Event()
        # OpenSSL wants no two threads in one connection at a time (SSL_read and SSL_write of the same object), so over
        # TLS the receiver waits for data outside this lock and only reads under it.
        self._tls = threading.Lock() if ws.is_ssl() else None  # type: ignore[no-untyped-call]
        self._message_so_far = bytearray()
        self._opcode = 0

    def send(self, text: str) -> None:
        """Sends one text message.

        Raises:
            ConnectionClosed: the connection cannot send any more.
        """
        self._send(text.encode(), ABNF.OPCODE_TEXT)

    def receive(self) -> Message:
        """The next message, str if it came as text; pings are answered on the way. Blocks until there is one.

        Raises:
            ConnectionClosed: the peer closed (its code and reason) or the connection broke (1006).
        """
        while True:
            frame = self._frame()
            if frame is None:
                continue
            if frame.opcode == ABNF.OPCODE_CLOSE:
                raise self._closed_by_peer(frame.data)
            if frame.opcode == ABNF.OPCODE_PING:
                self._send(frame.data, ABNF.OPCODE_PONG)
            elif frame.opcode != ABNF.OPCODE_PONG and (message := self._message(frame)) is not None:
                return message

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Starts the closing handshake; :meth:`receive` then ends with the peer's answer. Never raises."""
        if self._close_sent.is_set():
            return
        try:
            self._send(struct.pack("!H", code) + reason.encode()[:123], ABNF.OPCODE_CLOSE)
        except ClientError:
            pass  # it is gone already, and the receiver sees that too

    def abort(self) -> None:
        """Ends the connection at once, without a close frame, which wakes a receiver."""
        self._ws.abort()  # type: ignore[no-untyped-call]

    def release(self) -> None:
        """Gives the socket back, once no thread receives any more."""
        self._ws.shutdown()  # type: ignore[no-untyped-call]

    def _send(self, data: bytes, opcode: int) -> None:
        try:
            with self._tls or nullcontext():
                if opcode == ABNF.OPCODE_CLOSE:
                    if self._close_sent.is_set():
                        return
                    self._close_sent.set()
                self._ws.send(data, opcode)
        except (OSError, websocket.WebSocketException) as error:
            # Part of a frame may be out: later bytes would make no sense to the peer.
            self.abort()
            raise ConnectionClosed(1006, f"cannot send: {error}") from error

    def _frame(self) -> Any:
        """The next frame, or None after a while without one (the library keeps a part that has come)."""
        try:
            if self._tls is None:
                return self._ws.recv_frame()  # type: ignore[no-untyped-call]
            self._wait_readable()
            with self._tls:
                return self._ws.recv_frame()  # type: ignore[no-untyped-call]
        except TooLong:
            self.close(1009)
            raise ConnectionClosed(
                1009, f"the server sent a message of more than {self._max_message} bytes (max_message of connect())"
            ) from None
        except websocket.WebSocketTimeoutException:
            return None
        except websocket.WebSocketConnectionClosedException:
            raise ConnectionClosed(1006, "the connection was lost") from None
        except (OSError, websocket.WebSocketException) as error:
            raise ConnectionClosed(1006, str(error)) from error

    def _wait_readable(self) -> None:
        sock: Any = self._ws.sock
        if sock is None or sock.pending():
            return
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            selector.select()

    def _message(self, frame: Any) -> Message | None:
        """The message that ``frame`` completes, if it does (RFC 6455 section 5.4)."""
        if (frame.opcode == ABNF.OPCODE_CONT) != bool(self._opcode):
            self.close(1002)
            raise ConnectionClosed(1002, "the server sent fragments of a message out of order")
        if frame.opcode != ABNF.OPCODE_CONT:
            self._opcode = frame.opcode
        data: bytes = frame.data
        if self._message_so_far or not frame.fin:
            self._message_so_far += data
            self._frames.room = self._max_message - len(self._message_so_far)
            if not frame.fin:
                return None
            data = bytes(self._message_so_far)
        text = self._opcode == ABNF.OPCODE_TEXT
        self._message_so_far, self._opcode, self._frames.room = bytearray(), 0, self._max_message
        return data.decode("utf-8", "replace") if text else data

    def _closed_by_peer(self, data: bytes) -> ConnectionClosed:
        code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else 1005
        # RFC 6455 section 5.5.1: the answer to a close frame echoes its code.
        self.close(code if code != 1005 else 1000)
        return ConnectionClosed(code, data[2:].decode("utf-8", "replace"))
