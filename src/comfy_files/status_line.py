"""One line on a terminal that changes in place; nothing of it where there is no terminal."""

from __future__ import annotations

import shutil
import threading
from typing import TextIO

_ERASE = "\r\x1b[K"


class StatusLine:
    """Shows what is under way on `stream`, and lets sentences pass above it. For several threads.

    `moving` is whether the line is shown at all: by default on a terminal.
    """

    def __init__(self, stream: TextIO, *, moving: bool | None = None) -> None:
        self._stream = stream
        self._moving = stream.isatty() if moving is None else moving
        self._text = ""
        self._lock = threading.Lock()

    def show(self, text: str) -> None:
        """Replaces the line, cut to the terminal's width."""
        with self._lock:
            self._text = text[: shutil.get_terminal_size().columns - 1]
            if self._moving:
                self._write(_ERASE + self._text)

    def say(self, sentence: str) -> None:
        """Writes a line of its own, above the one that changes."""
        with self._lock:
            if self._moving and self._text:
                self._write(f"{_ERASE}{sentence}\n{self._text}")
            else:
                # One write for the whole line: other threads and processes write as well.
                self._write(f"{sentence}\n")

    def clear(self) -> None:
        """Takes the line away."""
        if self._text:
            self.show("")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
