"""``rbkit-websocket keygen``: a CURVE key pair for links that leave the machine."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ..errors import ConfigurationError

__all__ = ["command"]


@click.command("keygen")
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where the files go; made, with mode 700, if it is missing. Default: here.",
)
def command(name: str, directory: Path) -> None:
    """Make a CURVE key pair: NAME.key, to give away, and NAME.key_secret, to keep.

    Each side of a link needs a pair of its own. Put the .key of every client (a gateway, say) into the server's
    curve_authorized_keys_dir, and the .key of the server where the client's curve_server_key_file points to.
    """
    from ..transport.curve import write_key_pair  # imports ZeroMQ

    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        raise ConfigurationError(f"{name!r}: a name is letters, digits, '.', '-' and '_'; it becomes a file's name")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{directory}: cannot be made ({error.strerror})") from error
    public, secret = write_key_pair(directory, name)
    click.echo(f"public key  {public}  (give it to the other side)")
    click.echo(f"secret key  {secret}  (mode 600; give it to nobody)")
