"""Ways to a web server besides plain TCP: TLS with a certificate made for the test, and Unix sockets."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import trustme

from .rawclient import DEADLINE, RawClient
from .waiting import scaled


class Authority:
    """A certificate authority of this test, and the certificate that it gave a server.

    Args:
        directory: where the files are kept.
        names: host names and addresses of the server.

    Attributes:
        ca_file: the authority's certificate, for clients.
        certificate: the server's certificate.
        key: its private key.
    """

    def __init__(self, directory: Path, *names: str) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert(*names)
        self.ca_file, self.certificate, self.key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(str(self.ca_file))
        issued.private_key_pem.write_to_path(str(self.key))
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(str(self.certificate), append=number > 0)

    def server_context(self) -> ssl.SSLContext:
        """For a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this authority alone."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        # The blocking client of websockets reads in a thread of its own while it writes, on a TLS connection that
        # Python guards by no lock: the session tickets behind the handshake of TLS 1.3 collide with the request.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context


class TlsClient(RawClient):
    """A :class:`RawClient` that speaks TLS."""

    def __init__(self, port: int, context: ssl.SSLContext, *, receive_buffer: int | None = None) -> None:
        super().__init__(port, receive_buffer=receive_buffer)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        except BaseException:
            self.socket.close()
            raise


class UnixClient(RawClient):
    """A :class:`RawClient` on a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.socket = unix_socket(path)
        self._buffer = bytearray()


def unix_socket(path: Path) -> socket.socket:
    """A socket connected to ``path``."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(scaled(DEADLINE))
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return sock
