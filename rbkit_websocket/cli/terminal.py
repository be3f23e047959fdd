"""A viewer's output: redrawn in place on a terminal, line after line elsewhere."""

from __future__ import annotations

import io
import shutil
import sys
from types import TracebackType
from typing import Final, TextIO

from ..system.environment import variable
from .view import View, draw, plain_lines

__all__ = ["Output"]

# ECMA-48 and the xterm private modes: alternate screen, cursor, home, erase to the end of line and of screen.
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_LINE_END: Final = "\x1b[K"
_SCREEN_END: Final = "\x1b[J"


class Output:
    """A context manager: on a terminal it takes the alternate screen, and always gives it back."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        # A terminal that calls itself dumb (an editor's, a build's log) shows escape sequences as text.
        self.interactive = self._stream.isatty() and variable("TERM") not in (None, "dumb")
        self._last: View | None = None
        if isinstance(self._stream, io.TextIOWrapper):
            # A label may hold what the terminal's encoding does not know.
            self._stream.reconfigure(errors="replace")

    def __enter__(self) -> Output:
        if self.interactive:
            self._write(_ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.interactive:
            self._write(_LEAVE)
            if self._last is not None:
                # The last state stays in the scrollback.
                self._write("\n".join(draw(self._last, *self._size())) + "\n")

    def show(self, view: View) -> None:
        """Shows the state of this second."""
        self._last = view
        if self.interactive:
            lines = draw(view, *self._size())
            self._write(_HOME + "\n".join(line + _LINE_END for line in lines) + _SCREEN_END)
        else:
            self._write("\n".join(plain_lines(view)) + "\n")

    def _size(self) -> tuple[int, int]:
        size = shutil.get_terminal_size()
        # The last line stays free: a line break there would scroll.
        return size.columns, max(size.lines - 1, 1)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
