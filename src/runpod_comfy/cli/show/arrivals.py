"""A status line on a terminal for everything that arrives in parallel."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from comfy_files.progress import Progress, Rate, Say, StatusLine, readable_size
from runpod_comfy.cli.show.console import Console

_BETWEEN_S = 0.1
_REFRESHED_EVERY_S = 1.0


@dataclass(kw_only=True)
class _Count:
    here: int = 0
    in_all: int = 0
    here_bytes: int = 0
    in_all_bytes: int = 0
    rate: Rate = field(default_factory=Rate)

    def __str__(self) -> str:
        parts = [f"{self.here}/{self.in_all}"]
        if self.in_all_bytes:
            whole = readable_size(self.in_all_bytes)
            parts += [f"{readable_size(self.here_bytes)} of {whole}", str(self.rate)]
        return ", ".join(filter(None, parts))


class ArrivalsDisplay(Progress):
    """One line for everything that arrives at the same time, with bytes and their rate."""

    def __init__(self, line: StatusLine) -> None:
        self._line = line
        self.is_seen = line.moving
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}
        self._drawn_at = 0.0

    def expect(self, part: str, *, count: int, size_bytes: int = 0) -> None:
        with self._lock:
            self._counts[part] = _Count(in_all=count, in_all_bytes=size_bytes)
            self._draw()

    def arrived(self, part: str, *, count: int = 0, size_bytes: int = 0) -> None:
        with self._lock:
            counted = self._counts.setdefault(part, _Count())
            counted.here += count
            counted.here_bytes += size_bytes
            counted.rate.note(counted.here_bytes)
            if count or time.monotonic() - self._drawn_at > _BETWEEN_S:
                self._draw()

    def refresh(self) -> None:
        """Draws the line again: a rate is out of date after some seconds."""
        with self._lock:
            self._draw()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        counts = self._counts.items()
        self._line.show(
            " · ".join(f"{part} {count}" for part, count in counts if count.here < count.in_all)
        )


@contextmanager
def arrivals(console: Console) -> Iterator[tuple[Say, Progress]]:
    """What to say sentences with and what counts what arrives, on one line, for as long as the
    block lasts."""
    line = console.status_line()
    display, ended = ArrivalsDisplay(line), threading.Event()

    def refresh() -> None:
        while not ended.wait(_REFRESHED_EVERY_S):
            display.refresh()

    if line.moving:
        threading.Thread(target=refresh, daemon=True).start()
    try:
        yield line.say, display
    finally:
        ended.set()
        line.clear()
