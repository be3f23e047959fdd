"""Servers of a gateway's configuration: on the command line, or in a file.

A server is ``NAME=ENDPOINTS`` or ``NAME=ENDPOINTS KEY``. ENDPOINTS is ``tcp://HOST:PUB_PORT,REQ_PORT`` or two whole
endpoints with a comma between; KEY is the file with the server's public CURVE key. In a file each has a line, there may
be spaces around ``=``, and ``#`` begins a comment; a KEY's path is relative to the file's directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ConfigurationError
from ..transport.curve import ClientKeys

__all__ = ["NamedServer", "parse_servers", "read_file"]

_SERVER: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]{0,63})\s*=\s*(\S+?),(\S+)(?:\s+(\S.*?))?\s*")
_TCP: Final = re.compile(r"(tcp://(?:\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+)):([0-9]{1,5})")
_OTHER: Final = re.compile(r"(?:tcp|ipc)://\S+")


@dataclass(frozen=True)
class NamedServer:
    """One server.

    Attributes:
        name: the value of ``server=`` on the URL.
        pub, req: its ZeroMQ endpoints.
        keys: for a server that speaks CURVE.
    """

    name: str
    pub: str
    req: str
    keys: ClientKeys | None = None

    @classmethod
    def with_keys(cls, name: str, pub: str, req: str, own: str | None, server_key: str | None) -> NamedServer:
        """With the keys read from their files: the gateway's secret one, and the server's public one.

        Raises:
            ConfigurationError: a file cannot be read, or the gateway has no key of its own.
        """
        if server_key is None:
            return cls(name, pub, req)
        if own is None:
            raise ConfigurationError(
                f"server {name!r} has a CURVE key, but the gateway has none: give --curve-secret-key-file "
                "(rbkit-websocket keygen makes one)"
            )
        return cls(name, pub, req, ClientKeys.load(server_key, own))


def parse_servers(texts: Sequence[str], own: str | None, server_key: str | None) -> list[NamedServer]:
    """Servers as on the command line.

    Args:
        texts: each in the form of this module's docstring.
        own: file with the gateway's secret key.
        server_key: file with the public key of servers that name none.

    Raises:
        ConfigurationError: a text is wrong, a name occurs twice, or a key cannot be read.
    """
    return _parse(((f"--server {text!r}", text) for text in texts), Path(), own, server_key)


def read_file(path: Path, own: str | None, server_key: str | None) -> list[NamedServer]:
    """Servers of a file; arguments and errors as of :func:`parse_servers`."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{path}: cannot be read ({words})") from error
    numbered = ((f"{path}, line {number}", line.partition("#")[0]) for number, line in enumerate(lines, 1))
    found = _parse(((where, line) for where, line in numbered if line.strip()), path.parent, own, server_key)
    if not found:
        # An error, not a gateway to nowhere: an editor may just have emptied the file.
        raise ConfigurationError(f"{path}: names no server; a line reads web1 = tcp://10.0.0.5:5555,5556")
    return found


def _parse(
    entries: Iterable[tuple[str, str]], directory: Path, own: str | None, server_key: str | None
) -> list[NamedServer]:
    found: dict[str, NamedServer] = {}
    for where, text in entries:
        match = _SERVER.fullmatch(text)
        endpoints = _endpoints(match[2], match[3]) if match else None
        if match is None or endpoints is None:
            raise ConfigurationError(
                f"{where}: a server is NAME=tcp://HOST:PUB_PORT,REQ_PORT, with its key file behind"
            )
        name = match[1]
        if name in found:
            raise ConfigurationError(f"{where}: there are two servers named {name!r}")
        key = str((directory / match[4]).absolute()) if match[4] else server_key
        try:
            found[name] = NamedServer.with_keys(name, *endpoints, own, key)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from error
    return list(found.values())


def _endpoints(pub: str, req: str) -> tuple[str, str] | None:
    tcp = _TCP.fullmatch(pub)
    if tcp and req.isdecimal():
        ports = (int(tcp[2]), int(req))
        return (pub, f"{tcp[1]}:{req}") if all(0 < port < 65536 for port in ports) else None
    return (pub, req) if _OTHER.fullmatch(pub) and _OTHER.fullmatch(req) else None
