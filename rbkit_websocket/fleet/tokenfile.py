"""The token that the workers of an application share: one worker makes it, the runtime directory keeps it."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Final

from ..errors import RuntimeDirectoryError
from ..system.plainfile import read_plain
from .records import application_key, new_id

__all__ = ["generated_token", "has_token"]

_MAX_TOKEN: Final = 1024  # bytes; ours have 32


def has_token(directory: Path, application: str) -> bool:
    """Whether the application's token file is there, with any content."""
    return os.path.lexists(_path(directory, application))


def generated_token(directory: Path, application: str, held: str | None = None) -> tuple[str, Path, bool]:
    """The application's token, its file, and whether this call wrote it. All workers get the same, however they race.

    Args:
        held: the token that this worker has had, put back where the file is gone; an existing file counts more.

    Raises:
        RuntimeDirectoryError: the file is not the user's own, or open to others.
    """
    path = _path(directory, application)
    draft = directory / f"{application_key(application)}-{new_id()}.tmp"
    try:
        if os.path.lexists(path):
            return _read_token(path), path, False
        token = held or secrets.token_urlsafe(24)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token)
        # link() fails if the name exists: of several workers one wins, and no worker ever reads an unfinished file.
        os.link(draft, path)
    except FileExistsError:
        return _read_token(path), path, False
    except OSError as error:
        raise RuntimeDirectoryError(
            str(directory), f"cannot keep the token ({error.strerror}); set RBKIT_RUNTIME_DIR, or a token"
        ) from error
    finally:
        _remove(draft)
    return token, path, True


def _path(directory: Path, application: str) -> Path:
    return directory / f"{application_key(application)}.token"


def _remove(draft: Path) -> None:
    try:
        draft.unlink(missing_ok=True)
    except OSError:
        pass  # the directory has become something else


def _read_token(path: Path) -> str:
    try:
        data, facts = read_plain(path, _MAX_TOKEN)
    except OSError as error:
        raise RuntimeDirectoryError(str(path), f"cannot be read ({error.strerror}); remove it") from error
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise RuntimeDirectoryError(str(path), "is not this user's own file of mode 600; remove it")
    token = data.decode("latin-1").strip()
    if not re.fullmatch(r"[\x21-\x7e]{8,}", token):
        raise RuntimeDirectoryError(str(path), "holds no token; remove it")
    return token
