"""How long-running work reports progress: messages, counts of what has arrived, a status line."""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from comfy_errors.names import printable

Say = Callable[[str], None]

NOTE = "Note: "
"""The start of a line of a layer's output that is for the user."""

SLOW_S = 2.0
"""After waiting this long, the user is shown what is happening."""
_SAID_EVERY_S = 10.0
_RATE_OVER_S = 5.0
_ERASE = "\r\x1b[K"
_UP_AND_ERASE = "\x1b[1A\x1b[2K"


def say_nothing(_message: str) -> None:
    """Shows nothing."""


@contextmanager
def when_slow(say: Say, sentence: str) -> Iterator[None]:
    """Says `sentence`, from another thread, if the block takes longer than that."""
    timer = threading.Timer(SLOW_S, say, [sentence])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Progress:
    """Counts what has arrived, by kind: `trees`, `packages`, `models`. Called from several threads.

    This base class shows nothing. `is_seen` is true if the user sees the counts.
    """

    is_seen = False

    def expect(self, part: str, *, count: int, size_bytes: int = 0) -> None:
        """Sets the amount expected of one kind."""

    def arrived(self, part: str, *, count: int = 0, size_bytes: int = 0) -> None:
        """Adds to the amount of one kind that has arrived."""

    @contextmanager
    def file(
        self,
        part: str,
        name: str,  # noqa: ARG002
        *,
        size_bytes: int | None,  # noqa: ARG002
    ) -> Iterator[Callable[[int], None]]:
        """Follows one file for as long as the block lasts. What it yields is called with bytes of
        it that have arrived, which are added to those of its kind; a negative number takes away.
        """
        yield lambda count: self.arrived(part, size_bytes=count)


UNSEEN = Progress()


def counted(chunks: Iterable[bytes], part: str, progress: Progress) -> Iterator[bytes]:
    """Yields the chunks, and counts each one as arrived for `part`."""
    for chunk in chunks:
        progress.arrived(part, size_bytes=len(chunk))
        yield chunk


class StatusLine:
    """Shows what is under way on `stream`, in one line or more, and lets sentences pass above it.
    For several threads.

    `moving` is whether it is shown at all: by default on a terminal.
    """

    def __init__(self, stream: TextIO, *, moving: bool | None = None) -> None:
        self._stream = stream
        self.moving = stream.isatty() if moving is None else moving
        self._text = ""
        self._lock = threading.Lock()

    def show(self, text: str) -> None:
        """Replaces the lines, each cut to the terminal's width. Control characters are escapes."""
        with self._lock:
            erase = self._erase()
            width = shutil.get_terminal_size().columns - 1
            self._text = "\n".join(line[:width] for line in printable(text).split("\n"))
            if self.moving:
                self._write(erase + self._text)

    def say(self, sentence: str) -> None:
        """Writes a line of its own, above the one that changes. Control characters are escapes."""
        sentence = printable(sentence)
        with self._lock:
            if self.moving and self._text:
                self._write(f"{self._erase()}{sentence}\n{self._text}")
            else:
                # One write for the whole line: other threads and processes write as well.
                self._write(f"{sentence}\n")

    def clear(self) -> None:
        """Takes the line away."""
        if self._text:
            self.show("")

    def _erase(self) -> str:
        return _ERASE + _UP_AND_ERASE * self._text.count("\n")

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


class Rate:
    """Bytes per second over the last seconds, from counts as they grow."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def note(self, size_bytes: int) -> None:
        """Records the total number of bytes so far."""
        now = time.monotonic()
        self._seen.append((now, size_bytes))
        while len(self._seen) > 2 and self._seen[1][0] < now - _RATE_OVER_S:
            self._seen.popleft()

    def __str__(self) -> str:
        """`12.3 MB/s`; empty if not known yet, and if nothing arrived lately."""
        return f"{readable_size(round(self._per_s))}/s" if self._per_s else ""

    def left(self, size_bytes: int) -> str:
        """How long this many bytes take, as `1:05 left`; empty if that is not known."""
        if not self._per_s or size_bytes <= 0:
            return ""
        minutes, seconds = divmod(round(size_bytes / self._per_s), 60)
        hours, minutes = divmod(minutes, 60)
        return (
            f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
        )

    @property
    def _per_s(self) -> float:
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        if last <= first or ended <= began or time.monotonic() - ended > _RATE_OVER_S:
            return 0.0
        return (last - first) / (ended - began)


class TransferLines:
    """Reports the progress of one file: first after a short wait, then regularly."""

    def __init__(self, say: Say, title: str, size_bytes: int | None) -> None:
        self._say, self._title = say, title
        self._whole = f" of {readable_size(size_bytes)}" if size_bytes else ""
        self._rate = Rate()
        self._next = time.monotonic() + SLOW_S

    def note(self, here_bytes: int) -> None:
        """Reports that this much of it has arrived."""
        self._rate.note(here_bytes)
        if time.monotonic() > self._next:
            self._next = time.monotonic() + _SAID_EVERY_S
            rate = f", {self._rate}" if str(self._rate) else ""
            self._say(f"  {self._title}: {readable_size(here_bytes)}{self._whole}{rate}")
