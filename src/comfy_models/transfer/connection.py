"""One connection: reads one part of a file after the other, as long as any are free."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from comfy_errors import MismatchError
from comfy_files.parallel import end_if_interrupted
from comfy_http.errors import OtherRangeError, TransientError
from comfy_http.retries import Pauses
from comfy_models.formats import HEAD_BYTES, fault_of_content
from comfy_models.sources.errors import (
    NotAModelError,
    not_a_model_remedy,
    other_bytes_remedy,
)
from comfy_models.sources.file import FileSource
from comfy_models.sources.source import Source, Stream, head_of
from comfy_models.transfer.partial import PartialFile

CHUNK_BYTES = 1 << 20
_LARGEST_REQUEST_BYTES = 128 << 20


class StartOverError(Exception):
    """The bytes have to come from the start again: `message` says why, as the end of a sentence
    that starts with the URL. `ranges` is false if the server gives no parts of the file.
    """

    def __init__(self, message: str, *, ranges: bool) -> None:
        super().__init__(message)
        self.message, self.ranges = message, ranges


class NoRangesError(Exception):
    """This further connection is of no use: the server gives no parts of the file."""


@dataclass(kw_only=True)
class Origin:
    """One source of the bytes of a file: `shown` is its URL, `server` who asks for pauses, and
    `name` says what kind of file it should be. `validator` is that of all bytes so far, None before
    the first.
    """

    source: Source
    shown: str
    server: str
    name: str
    pauses: Pauses
    validator: str | None = None

    @property
    def is_here(self) -> bool:
        """True for a file of this machine."""
        return isinstance(self.source, FileSource)


class Connection:
    """Reads from `origin` into `partial` as part of a generation.

    `is_alone` is asked whether no other connection reads the file, and `is_only` whether none will.
    `count` gets the size of each chunk that was written. `busy_s` is how many seconds went
    into writing them, not into waiting for the server.
    """

    def __init__(
        self,
        partial: PartialFile,
        generation: int,
        origin: Origin,
        *,
        is_alone: Callable[[], bool],
        is_only: Callable[[], bool],
        count: Callable[[int], None],
    ) -> None:
        self._partial, self._generation, self._origin = partial, generation, origin
        self._is_alone, self._is_only, self._count = is_alone, is_only, count
        self._stream: Stream | None = None
        # Where the stream is, and where it ends.
        self._at, self._end = 0, 0
        self.received_bytes, self.busy_s = 0, 0.0

    def fill(self, extent: tuple[int, int] | None) -> None:
        """Reads the extent, which was taken, and further ones until none is free.

        Raises TransientError if the connection breaks, ComfyError if the source cannot give the
        file, StartOverError, NoRangesError.
        """
        partial, generation = self._partial, self._generation
        try:
            while extent is not None:
                part = extent[0] // partial.form.part_bytes
                try:
                    is_read = self._read(*extent)
                finally:
                    partial.release(generation, part)
                if not is_read:
                    return
                extent = partial.take(generation, after=part) or partial.take(generation)
        finally:
            self._close()

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _read(self, start: int, end: int) -> bool:
        """Reads one extent. False if it came to its end early, but properly."""
        head = b""
        if self._stream is None or self._at != start or start >= self._end:
            self._close()
            head = self._open(start, end)
        stream = self._stream
        assert stream is not None
        while start < end:
            chunk = head or stream.read(min(CHUNK_BYTES, end - start))
            head, arrived_at = b"", time.monotonic()
            if not chunk:
                self._ended(stream, start)
                return False
            end_if_interrupted()
            if not self._partial.write(self._generation, start, chunk):
                return False
            start += len(chunk)
            self._at = start
            self.received_bytes += len(chunk)
            self._count(len(chunk))
            self.busy_s += time.monotonic() - arrived_at
        return True

    def _ended(self, stream: Stream, at: int) -> None:
        """What it means that the stream has no byte at this offset."""
        size = self._partial.form.size_bytes
        if size is None and stream.size in (None, at):
            self._partial.ends_at(at)
            return
        if size is not None and stream.size is None:
            raise self._other_size(at)
        raise TransientError(
            f"{self._origin.shown} could not be read: the connection ended after {at} bytes",
            remedy="Try again later.",
        )

    def _open(self, start: int, end: int) -> bytes:
        """Opens the stream at `start`; returns the first bytes, if those of the file were read."""
        origin, size = self._origin, self._partial.form.size_bytes
        last: int | None = end
        if self._is_alone():
            # One request for several untouched parts, but not for more than was read so far:
            # another connection may begin a later part soon.
            part = start // self._partial.form.part_bytes
            further = min(self.received_bytes, _LARGEST_REQUEST_BYTES)
            most = math.inf if self._is_only() else start + further
            last = self._partial.free_until(part, at_most=most)
        origin.pauses.wait(origin.server)
        try:
            stream = origin.source.open(
                start, None if last == size else last, validator=origin.validator
            )
        except OtherRangeError:
            self._without_ranges()
        self._stream, self._end = stream, last or sys.maxsize
        head = b"" if stream.start else self._checked_head(stream)
        if None not in (stream.size, size) and stream.size != size:
            raise self._other_size(stream.size)
        if stream.validator is not None:
            if origin.validator not in (None, stream.validator):
                raise StartOverError("changed while it was read", ranges=True)
            origin.validator = stream.validator
        if stream.start != start:
            self._without_ranges()
        return head

    def _other_size(self, found: int | None) -> MismatchError:
        return MismatchError(
            f"{self._origin.shown} has {found} bytes, not {self._partial.form.size_bytes}",
            remedy=other_bytes_remedy(is_here=self._origin.is_here),
        )

    def _without_ranges(self) -> NoReturn:
        if not self._is_alone():
            raise NoRangesError
        raise StartOverError("breaks off, and its host cannot continue a download", ranges=False)

    def _checked_head(self, stream: Stream) -> bytes:
        """The first bytes of the file. Raises NotAModelError if it is none by these."""
        head = head_of(stream, HEAD_BYTES)
        size = self._partial.form.size_bytes
        found = size if stream.size is None else stream.size
        fault = fault_of_content(head, found, self._origin.name)
        if fault is not None:
            remedy = not_a_model_remedy(is_here=self._origin.is_here)
            raise NotAModelError(f"{self._origin.shown} {fault}", remedy=remedy)
        return head[:size]
