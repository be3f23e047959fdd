"""Strings for the terminal: text of a server or an application is hostile until it is cleaned here."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["clean", "fit", "short_path", "width"]

_LIBRARY: Final = re.compile(r".*/(?:site-packages|dist-packages|lib/python\d+\.\d+)/")


def clean(text: str) -> str:
    """``text`` in one line without characters that a terminal would obey.

    Control characters, escape sequences, characters that turn the writing direction and lone surrogates become ``?``
    (str.isprintable: none of the categories "Other" and "Separator" but the space); line breaks become spaces.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.splitlines()))


def width(text: str) -> int:
    """Columns that cleaned text takes: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, columns: int) -> str:
    """``text`` in exactly ``columns`` columns: filled up with spaces, or cut with an ellipsis at its end."""
    if width(text) > columns:
        kept, used = [], 0
        for c in text:
            used += width(c)
            if used > columns - 1:
                break
            kept.append(c)
        text = "".join(kept) + "…" if columns > 0 else ""
    return text + " " * (columns - width(text))


def short_path(path: str) -> str:
    """A short source path for people: ``gevent/hub.py`` for a library, the last two parts for the rest."""
    path = path.replace("\\", "/")
    library = _LIBRARY.match(path)
    return path[library.end() :] if library else "/".join(path.split("/")[-2:])
