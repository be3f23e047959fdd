"""One WebSocket to an Rbkit server: opening it, whole messages in, text out, close codes both ways.

Built on the library websocket-client. Of it this module uses single frames, because its message functions lose the
close code and answer a close frame twice.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
import threading
from contextlib import nullcontext
from typing import Any, Final

import websocket
from websocket import ABNF

from ..errors import ClientError, ConnectionClosed, ConnectionRefused
from ..protocol.constants import SUBPROTOCOL
from .address import Address

__all__ = ["Connection", "open_connection"]

_BODY_SHOWN: Final = 2000
_IS_IT_THERE: Final = (
    "Is RbkitWebsocket around its application, and does every proxy in between pass the headers Upgrade and "
    "Connection on?"
)

Message = bytes | str


def open_connection(address: Address, timeout: float, context: ssl.SSLContext | None = None) -> Connection:
    """Connects, asks for the upgrade and checks what came of it.

    Args:
        timeout: seconds for each step.
        context: how TLS is spoken; default: with what the system trusts.

    Raises:
        ConnectionRefused: with the HTTP status and the server's words, or with status None when there was no answer.
    """
    ws = websocket.WebSocket(
        enable_multithread=True, skip_utf8_validation=True, sslopt={"context": context} if context else None
    )
    ws.settimeout(timeout)
    options: dict[str, Any] = {
        "subprotocols": [SUBPROTOCOL],
        # A program has no origin; a wrong one would be refused as a foreign page's.
        "suppress_origin": True,
        # The library would repeat the token to whatever host a redirect names.
        "redirect_limit": 0,
        "header": [f"Authorization: Bearer {address.token}"] if address.token else [],
    }
    try:
        if address.loopback:
            # The library would ask a proxy of the environment for this very machine.
            options["socket"] = _direct(address, timeout, context)
        ws.connect(address.url, **options)  # type: ignore[no-untyped-call]
    except websocket.WebSocketBadStatusException as error:
        raise ConnectionRefused(error.status_code, _words(error)) from None
    except websocket.WebSocketTimeoutException:
        raise ConnectionRefused(None, f"no answer from {address.host}:{address.port} within {timeout:g} s") from None
    except (OSError, websocket.WebSocketException, ValueError) as error:
        raise _refused(address, ws, error) from error
    if ws.getstatus() != 101 or ws.getsubprotocol() != SUBPROTOCOL:
        ws.shutdown()  # type: ignore[no-untyped-call]
        raise _refused(address, ws, None)
    return Connection(ws, timeout)


def _direct(address: Address, timeout: float, context: ssl.SSLContext | None) -> socket.socket:
    sock = socket.create_connection((address.host, address.port), timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.secure:
            return (context or ssl.create_default_context()).wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise
    return sock


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
        target = (ws.getheaders() or {}).get("location", "another place")
        return ConnectionRefused(status, f"redirected to {target}; connect there if you trust it with the token")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionRefused(
            None,
            f"{place}: {error.strerror or error}; for a certificate of your own authority give "
            "ssl=ssl.create_default_context(cafile=...), or set SSL_CERT_FILE",
        )
    if isinstance(error, OSError):
        problem = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return ConnectionRefused(None, f"{place}: {problem}")
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
    """

    def __init__(self, ws: websocket.WebSocket, timeout: float) -> None:
        self._ws = ws
        ws.settimeout(timeout)
        self._close_sent = threading.Event()
        # OpenSSL wants no two threads in one connection at a time (SSL_read and SSL_write of the same object), so over
        # TLS the receiver waits for data outside this lock and only reads under it.
        self._tls = threading.Lock() if ws.is_ssl() else None  # type: ignore[no-untyped-call]
        self._fragments: list[bytes] = []
        self._opcode = 0

    def send(self, text: str) -> None:
        """Sends one text message.

        Raises:
            ConnectionClosed: it cannot be sent any more.
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
        """Wakes a receiver up: the connection ends at once, without a word."""
        self._ws.abort()  # type: ignore[no-untyped-call]

    def release(self) -> None:
        """Gives the socket back. Only once nobody receives any more."""
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
            # Part of a frame may be out: nothing that follows would make sense to the peer.
            self.abort()
            raise ConnectionClosed(1006, f"cannot send: {error}") from error

    def _frame(self) -> Any:
        """The next frame, or None after a while without one (what has come of it is kept by the library)."""
        try:
            if self._tls is None:
                return self._ws.recv_frame()  # type: ignore[no-untyped-call]
            self._wait_readable()
            with self._tls:
                return self._ws.recv_frame()  # type: ignore[no-untyped-call]
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
        self._fragments.append(frame.data)
        if not frame.fin:
            return None
        data = self._fragments[0] if len(self._fragments) == 1 else b"".join(self._fragments)
        text = self._opcode == ABNF.OPCODE_TEXT
        self._fragments, self._opcode = [], 0
        return data.decode("utf-8", "replace") if text else data

    def _closed_by_peer(self, data: bytes) -> ConnectionClosed:
        code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else 1005
        # RFC 6455 section 5.5.1: the answer to a close frame echoes its code.
        self.close(code if code != 1005 else 1000)
        return ConnectionClosed(code, data[2:].decode("utf-8", "replace"))
