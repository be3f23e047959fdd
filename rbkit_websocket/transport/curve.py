"""CURVE (ZeroMQ RFC 25, 26): keys in files, for links that leave the machine.

A key pair is two files in ZeroMQ's certificate format, which ``zmq.auth`` and CZMQ read and write too: ``NAME.key`` has
the public key, to be given away; ``NAME.key_secret`` has both keys, and stays.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError

# Imported late in every function: an application without keys does not load ZeroMQ, which a process's further
# interpreters cannot load at all.
if TYPE_CHECKING:
    import zmq

__all__ = ["ClientKeys", "ServerKeys", "check_available", "write_key_pair"]

_MAX_FILE: Final = 64 * 1024
_PUBLIC: Final = ".key"
_SECRET: Final = ".key_secret"  # noqa: S105 - the end of a file's name


@dataclass(frozen=True)
class ClientKeys:
    """Keys of a connecting socket: Z85 text, 40 bytes each.

    Attributes:
        server: the server's public key.
        public, secret: its own.
    """

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def load(cls, server_key_file: str, secret_key_file: str) -> ClientKeys:
        """Reads both files.

        Raises:
            ConfigurationError: a file cannot be read or has no such key, or others can read the secret.
        """
        check_available()
        public, secret = _secret_key(secret_key_file)
        return cls(_public_key(Path(server_key_file)), public, secret)

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Sets the keys on a socket that is not connected yet."""
        socket.curve_serverkey = self.server
        socket.curve_publickey = self.public
        socket.curve_secretkey = self.secret


@dataclass(frozen=True)
class ServerKeys:
    """Keys of a binding socket, and the clients that may connect to it.

    Attributes:
        public, secret: its own keys, Z85 text.
        authorized: directory with the public keys (``*.key``) of the clients that are let in.
    """

    public: bytes
    secret: bytes = field(repr=False)
    authorized: Path

    @classmethod
    def load(cls, secret_key_file: str, authorized_keys_dir: str) -> ServerKeys:
        """Reads the key; the directory has to be there.

        Raises:
            ConfigurationError: the file cannot be read, has no secret key, or others can read it; no such directory.
        """
        check_available()
        public, secret = _secret_key(secret_key_file)
        if not os.path.isdir(authorized_keys_dir):
            raise ConfigurationError(
                f"curve_authorized_keys_dir {authorized_keys_dir}: no such directory; put the public keys "
                f"(*{_PUBLIC}) of the clients that may connect there"
            )
        if os.stat(authorized_keys_dir).st_mode & stat.S_IWOTH:
            raise ConfigurationError(
                f"curve_authorized_keys_dir {authorized_keys_dir}: anybody can add a key there; "
                f"chmod o-w {authorized_keys_dir}"
            )
        return cls(public, secret, Path(authorized_keys_dir))

    def apply(self, socket: zmq.Socket[bytes], domain: bytes) -> None:
        """Sets the keys on a socket that is not bound yet, and has its context's ZAP handler judge clients."""
        socket.curve_server = True
        socket.curve_publickey = self.public
        socket.curve_secretkey = self.secret
        socket.zap_domain = domain

    def is_authorized(self, client_key: bytes) -> bool:
        """Whether a client's public key (32 bytes) is in the directory now: read each time, so a key that is added or
        removed counts from the next connection on."""
        from zmq.utils import z85

        wanted = z85.encode(client_key)
        for path in self.authorized.glob(f"*{_PUBLIC}"):
            try:
                if _load(path)[0] == wanted:
                    return True
            except (OSError, ValueError, LookupError):
                continue  # no key: it lets nobody in
        return False


def check_available() -> None:
    """
    Raises:
        ConfigurationError: libzmq was built without CURVE.
    """
    import zmq

    if not zmq.has("curve"):
        raise ConfigurationError("this libzmq was built without CURVE; install the pyzmq wheel from PyPI")


def write_key_pair(directory: Path, name: str) -> tuple[Path, Path]:
    """Makes a key pair and writes its two files, the secret one with mode 600; returns their paths.

    Raises:
        ConfigurationError: a file of that name is there already, or the directory cannot be written.
    """
    import zmq

    check_available()
    public, secret = zmq.curve_keypair()
    paths = directory / f"{name}{_PUBLIC}", directory / f"{name}{_SECRET}"
    head = "# ZeroMQ CURVE {} key of rbkit-websocket. {}\nmetadata\n"
    contents = (
        head.format("public", "Give it to the other side.") + f'curve\n    public-key = "{public.decode()}"\n',
        head.format("secret", "Give it to nobody.")
        + f'curve\n    public-key = "{public.decode()}"\n    secret-key = "{secret.decode()}"\n',
    )
    for path in paths:
        if path.exists():
            raise ConfigurationError(f"{path} is there already; remove it, or choose another name")
    try:
        for path, content, mode in zip(paths, contents, (0o644, 0o600), strict=True):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
                file.write(content)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written ({error.strerror})") from error
    return paths


def _load(path: Path) -> tuple[bytes, bytes | None]:
    from zmq.auth import load_certificate
    from zmq.utils import z85

    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MAX_FILE:
        raise ValueError("no regular file of a key's size")  # reading a FIFO, say, would wait for ever
    public, secret = load_certificate(path)
    for key in (public, secret):
        try:
            sound = key is None or (len(key) == 40 and len(z85.decode(key)) == 32)
        except struct.error:  # five characters that stand for more than 32 bits
            sound = False
        if not sound:
            raise ValueError("a key is 40 characters of Z85")
    return public, secret


def _public_key(path: Path) -> bytes:
    try:
        return _load(path)[0]
    except (OSError, ValueError, LookupError) as error:
        raise ConfigurationError(f"{path}: no public key can be read from it ({_words(error)})") from error


def _secret_key(name: str) -> tuple[bytes, bytes]:
    path = Path(name)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        public, secret = _load(path)
    except (OSError, ValueError, LookupError) as error:
        raise ConfigurationError(f"{path}: no secret key can be read from it ({_words(error)})") from error
    if secret is None:
        raise ConfigurationError(f"{path}: has a public key only; give the file that ends with {_SECRET}")
    if mode & 0o007:
        raise ConfigurationError(f"{path}: others can read it (mode {mode:o}); chmod 600 {path}")
    return public, secret


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
