"""The command line ``rbkit-websocket``: one file a subcommand.

Importing this package imports neither gevent nor the client: subcommands are loaded when they are used, so that
subcommands that serve can patch first.
"""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Any, Final

import click

from .. import __version__
from ..errors import RbkitError
from .streams import give_up_output, open_closed
from .text import clean

__all__ = ["main"]

_COMMANDS: Final = ("demo", "gateway", "keygen")
"""Subcommands: each is a module of this package with a click command named ``command``."""

# A full disk behind a redirection, a terminal that is gone.
_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f".{cmd_name}", __name__).command
        assert isinstance(command, click.Command)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        open_closed()
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in _UNWRITABLE or error.filename is not None:
                raise
            give_up_output()
            click.echo(f"Error: standard output cannot be written: {error.strerror}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RbkitError as error:
            # This package's own errors are for people; any other exception is a bug and stays a traceback.
            raise click.ClickException(clean(str(error))) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rbkit-websocket", message="%(prog)s %(version)s")
def main() -> None:
    """Live profiling of Python web applications through one WebSocket."""
