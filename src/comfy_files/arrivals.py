"""What arrives in parallel: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from comfy_files.progress import Progress, Rate, Say, readable_size

_BETWEEN_S = 0.1
_REFRESHED_EVERY_S = 1.0
_SAID_EVERY_S = 10.0


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


class Line(Protocol):
    """What a `StatusLine` can do."""

    @property
    def moving(self) -> bool: ...
    def show(self, text: str) -> None: ...
    def say(self, sentence: str) -> None: ...
    def clear(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """A line that never changes in place."""

    say: Say
    moving: bool = False

    def show(self, text: str) -> None:
        pass

    def clear(self) -> None:
        pass


class ArrivalsDisplay(Progress):
    """One line for everything that arrives at the same time, with bytes and their rate.

    `is_seen` is false if the output of what fetches is shown instead.
    """

    def __init__(self, line: Line, *, is_seen: bool = True) -> None:
        self._line = line
        self.is_seen = is_seen
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
        """Draws the line again, since a rate is out of date after some seconds; where no line can
        change, writes one."""
        with self._lock:
            if self._line.moving:
                self._draw()
            elif text := self._text():
                self._line.say(f"  {text}")

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        self._line.show(self._text())

    def _text(self) -> str:
        counts = self._counts.items()
        return " · ".join(f"{part} {count}" for part, count in counts if count.here < count.in_all)


@contextmanager
def arrivals(line: Line, *, is_seen: bool = True) -> Iterator[tuple[Say, Progress]]:
    """What to say sentences with and what counts what arrives, on `line`, for as long as the block
    lasts. `is_seen` is false if the output of what fetches is shown instead."""
    display = ArrivalsDisplay(line, is_seen=is_seen)
    ended = threading.Event()
    pause_s = _REFRESHED_EVERY_S if line.moving else _SAID_EVERY_S

    def refresh() -> None:
        while not ended.wait(pause_s):
            display.refresh()

    if is_seen:
        threading.Thread(target=refresh, daemon=True).start()
    try:
        yield line.say, display
    finally:
        ended.set()
        line.clear()
