"""How long-running work reports progress: messages, counts of what has arrived, a status line."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from typing import TextIO

Say = Callable[[str], None]

_ERASE = "\r\x1b[K"


def say_nothing(_message: str) -> None:
    """Shows nothing."""


class Progress:
    """Counts what has arrived, by kind: `trees`, `packages`, `models`. Called from several threads.

    This base class shows nothing.
    """

    def expect(self, part: str, *, count: int, size_bytes: int = 0) -> None:
        """Adds to the amount expected of one kind."""

    def arrived(self, part: str, *, count: int = 0, size_bytes: int = 0) -> None:
        """Adds to the amount of one kind that has arrived."""


UNSEEN = Progress()


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


def readable_size(size_bytes: int) -> str:
    """`1.5 GB`, in powers of 1000 as disks and networks are sold."""
    size, unit = float(size_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size_bytes} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
