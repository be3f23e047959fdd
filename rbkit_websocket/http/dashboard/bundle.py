"""The dashboard's files: built from ``frontend/``, read once, served with strong ETags."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, Final

__all__ = ["FOLDER", "Asset", "asset", "names"]

# A real directory, or one in a zip file.
FOLDER: Final = files(__package__) / "static"
INDEX: Final = "index.html"

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file.

    Attributes:
        etag: of ``body``, quotes included; ``zipped`` has one of its own (RFC 9110 section 8.8.3.3).
    """

    content_type: str
    etag: str
    body: bytes
    zipped: bytes

    @property
    def zipped_etag(self) -> str:
        return f'{self.etag[:-1]}-gzip"'


def names() -> tuple[str, ...]:
    """Names of the files; empty where the package was installed without its dashboard."""
    if not (FOLDER / INDEX).is_file():
        return ()
    return tuple(sorted(path.name for path in FOLDER.iterdir() if _suffix(path.name) in _TYPES and path.is_file()))


def asset(name: str) -> Asset:
    """One of :func:`names`; read again only when the file has changed, as during development.

    Raises:
        OSError: the file is gone.
    """
    path = FOLDER / name
    if isinstance(path, Path):
        status = path.stat()
        return _read(path.parent, name, status.st_mtime_ns, status.st_size)
    if not path.is_file():
        raise FileNotFoundError(name)
    folder: Any = FOLDER
    return _read(folder, name, 0, 0)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix


@lru_cache(maxsize=16)
def _read(folder: Any, name: str, _modified: int, _size: int) -> Asset:
    body = (folder / name).read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:32]
    # mtime: the same bytes in every worker, as a strong ETag promises.
    return Asset(_TYPES[_suffix(name)], f'"{digest}"', body, gzip.compress(body, 6, mtime=0))
