"""What arrives in parallel: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from comfy_files.progress import Progress, Rate, Say, StatusLine, readable_size

_BETWEEN_S = 0.1
_REFRESHED_EVERY_S = 1.0
_SAID_EVERY_S = 10.0
# So that a line fits on 80 columns.
_NAME_WIDTH, _BAR_WIDTH = 24, 12
_FILES_SHOWN = 8


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
            parts.append(self.rate.left(self.in_all_bytes - self.here_bytes))
        return ", ".join(filter(None, parts))


@dataclass(kw_only=True)
class _File:
    name: str
    size_bytes: int | None
    here_bytes: int = 0
    rate: Rate = field(default_factory=Rate)

    def add(self, size_bytes: int) -> None:
        self.here_bytes += size_bytes
        self.rate.note(self.here_bytes)

    def __str__(self) -> str:
        name = self.name if len(self.name) <= _NAME_WIDTH else f"…{self.name[1 - _NAME_WIDTH :]}"
        if not self.size_bytes:
            return (
                f"  {name:<{_NAME_WIDTH}}  {readable_size(self.here_bytes)}  {self.rate}".rstrip()
            )
        share = min(1.0, max(0.0, self.here_bytes / self.size_bytes))
        done = round(share * _BAR_WIDTH)
        bar = "█" * done + "░" * (_BAR_WIDTH - done)
        size = readable_size(self.size_bytes)
        text = f"  {name:<{_NAME_WIDTH}}  {bar} {share:>4.0%}  {size:>8}  {self.rate}"
        return f"{text}  {self.rate.left(self.size_bytes - self.here_bytes)}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """What a `StatusLine` is where no line can change."""

    say: Say
    moving: bool = False

    def show(self, text: str) -> None:
        pass

    def clear(self) -> None:
        pass


Line = StatusLine | Sentences


class ArrivalsDisplay(Progress):
    """One line for everything that arrives at the same time, with bytes, their rate and the time
    that is left; above it on a terminal, a bar for each file that is followed.

    `is_seen` is false if the output of what fetches is shown instead.
    """

    def __init__(self, line: Line, *, is_seen: bool = True) -> None:
        self._line = line
        self.is_seen = is_seen
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}
        self._files: list[_File] = []
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

    @contextmanager
    def file(
        self, part: str, name: str, *, size_bytes: int | None
    ) -> Iterator[Callable[[int], None]]:
        file = _File(name=name, size_bytes=size_bytes)

        def add(count: int) -> None:
            with self._lock:
                file.add(count)
            self.arrived(part, size_bytes=count)

        with self._lock:
            self._files.append(file)
        try:
            yield add
        finally:
            with self._lock:
                self._files.remove(file)

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
        bars = [str(file) for file in self._files[:_FILES_SHOWN]] if self._line.moving else []
        self._line.show("\n".join([*bars, self._text()]))

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
