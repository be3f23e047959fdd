"""``rbkit-websocket gateway``: the bridge alone, in front of any Rbkit servers."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, Literal

import click

from ..errors import ConfigurationError

__all__ = ["command", "parse_bind"]

_BIND: Final = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:\[\]]+)):(?P<port>\d{1,5})")


@click.command("gateway")
@click.option("--pub-endpoint", metavar="ENDPOINT", help="Where the Rbkit server publishes: tcp://127.0.0.1:5555")
@click.option("--req-endpoint", metavar="ENDPOINT", help="Where it takes commands: tcp://127.0.0.1:5556")
@click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="'NAME=ENDPOINTS [KEY]'",
    help="One of several servers: web1=tcp://10.0.0.5:5555,5556 and perhaps the file with its public CURVE key.",
)
@click.option(
    "--servers-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file of such servers, one a line; read again on SIGHUP.",
)
@click.option("--curve-secret-key-file", metavar="FILE", help="The gateway's own CURVE key (keygen makes one).")
@click.option("--curve-server-key-file", metavar="FILE", help="The public key of every server that names none.")
@click.option("--bind", metavar="HOST:PORT", default="127.0.0.1:8000", show_default=True, help="Port 0: a free one.")
@click.option("--token", help="The token that clients must send; better set RBKIT_TOKEN, which other users cannot see.")
@click.option("--no-token", is_flag=True, help="Let in every client that reaches the port.")
@click.option("--name", help="Application whose generated token is used; default: one for each Rbkit server.")
@click.option("--frames", type=click.Choice(["binary", "text"]), help="text: for old browser clients.")
@click.option("--allowed-origin", "origins", multiple=True, metavar="ORIGIN", help="A foreign page that may connect.")
def command(
    pub_endpoint: str | None,
    req_endpoint: str | None,
    servers: tuple[str, ...],
    servers_file: Path | None,
    curve_secret_key_file: str | None,
    curve_server_key_file: str | None,
    bind: str,
    token: str | None,
    no_token: bool,
    name: str | None,
    frames: str | None,
    origins: tuple[str, ...],
) -> None:
    """Serve the WebSocket in front of any Rbkit servers, a Ruby application's say.

    Give one by --pub-endpoint and --req-endpoint, or any number by --server or --servers-file: clients choose by name.

    Options that are left out come from RBKIT_PUB_ENDPOINT, RBKIT_REQ_ENDPOINT, RBKIT_TOKEN and so on. Without a token
    one is made, kept for the next time, and printed with the address. SIGTERM and Ctrl-C end it in good order.
    """
    if token is not None and no_token:
        raise ConfigurationError("--token and --no-token exclude each other")
    given = (bool(servers), servers_file is not None, pub_endpoint is not None or req_endpoint is not None)
    if sum(given) > 1:
        raise ConfigurationError("give one of --server, --servers-file, and --pub-endpoint with --req-endpoint")
    address = parse_bind(bind)
    # This process serves: from here on all imports have to be patched.
    from gevent import monkey

    monkey.patch_all()
    from ..gateway.server import run_gateway

    chosen: str | Literal[False] | None = False if no_token else token
    run_gateway(
        address,
        servers,
        servers_file.absolute() if servers_file is not None else None,
        curve_secret_key_file=_absolute(curve_secret_key_file),
        curve_server_key_file=_absolute(curve_server_key_file),
        pub_endpoint=pub_endpoint,
        req_endpoint=req_endpoint,
        token=chosen,
        name=name,
        frames=frames,
        allowed_origins=origins or None,
    )


def _absolute(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(path)


def parse_bind(text: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:8000``, ``[::1]:8000`` or ``example.com:0``.

    Raises:
        ConfigurationError: the text is wrong.
    """
    match = _BIND.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ConfigurationError(f"--bind {text!r}: give HOST:PORT, 127.0.0.1:8000 or [::1]:8000 say")
    return match["six"] or match["host"], int(match["port"])
