"""One line on a terminal for everything that arrives at the same time."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from comfy_files.sizes import readable_size

if TYPE_CHECKING:
    from runpod_comfy.realize.progress import Part

_ERASE = "\r\x1b[K"
_BETWEEN_S = 0.1


@dataclass(kw_only=True)
class _Count:
    here: int = 0
    in_all: int = 0
    here_bytes: int = 0
    in_all_bytes: int = 0

    @property
    def is_open(self) -> bool:
        return self.here < self.in_all

    def __str__(self) -> str:
        count = f"{self.here}/{self.in_all}"
        if not self.in_all_bytes:
            return count
        return f"{count}, {readable_size(self.here_bytes)} of {readable_size(self.in_all_bytes)}"


class Display:
    """Shows what is under way on `stream`, a terminal, and lets sentences pass above the line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._counts: dict[Part, _Count] = {}
        self._drawn_at = 0.0

    def expect(self, part: Part, *, count: int, size_bytes: int = 0) -> None:
        with self._lock:
            self._counts[part] = _Count(in_all=count, in_all_bytes=size_bytes)
            self._draw()

    def arrived(self, part: Part, *, count: int = 0, size_bytes: int = 0) -> None:
        with self._lock:
            counted = self._counts.setdefault(part, _Count())
            counted.here += count
            counted.here_bytes += size_bytes
            if count or time.monotonic() - self._drawn_at > _BETWEEN_S:
                self._draw()

    def say(self, sentence: str) -> None:
        """A line of its own."""
        with self._lock:
            self._stream.write(f"{_ERASE}{sentence}\n")
            self._draw()

    def clear(self) -> None:
        """Takes the line away."""
        with self._lock:
            self._counts.clear()
            self._draw()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        told = [f"{part} {count}" for part, count in self._counts.items() if count.is_open]
        width = shutil.get_terminal_size().columns
        self._stream.write(_ERASE + " · ".join(told)[: width - 1])
        self._stream.flush()
