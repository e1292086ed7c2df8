"""The connections that fill a partial file from one source: as many as help."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable

from comfy_errors import MismatchError
from comfy_files.parallel import interrupted
from comfy_http.errors import TransientError
from comfy_http.retries import Backoff
from comfy_models.sources.source import Source, Stream
from comfy_models.transfer.following_hash import FollowingHash
from comfy_models.transfer.partial import PartialFile

_CHUNK_BYTES = 1 << 18
_AT_ONCE = 8
_ADD_EVERY_S = 0.15
_LOOK_S = 0.05
_LAG_BYTES = 8 << 20
# A connection that broke after this much is opened again at once.
_WORTHWHILE_BYTES = 1 << 20


class StartOverError(Exception):
    """The bytes have to come from the start, over one connection."""


class Connections:
    """Fills `partial` from `source`, whose URL is shown as `shown`."""

    def __init__(
        self,
        partial: PartialFile,
        hashing: FollowingHash,
        source: Source,
        *,
        shown: str,
        at_once: int,
        backoff: Backoff,
        count: Callable[[int], None],
    ) -> None:
        self._partial, self._hashing, self._source = partial, hashing, source
        self._shown, self._backoff, self._count = shown, backoff, count
        self._at_once = min(at_once, _AT_ONCE)
        self._generation = partial.retake()
        self._running = 0
        self._broken: TransientError | None = None
        self._error: BaseException | None = None
        self._validator: str | None = None
        self._most_bytes = partial.received_bytes

    def run(self) -> None:
        """Returns once the file is whole. Raises ComfyError or StartOverError if the source does
        not give all of it, and KeyboardInterrupt if this thread's work is cancelled.
        """
        added = time.monotonic()
        try:
            while not self._partial.is_whole:
                if self._running == 0:
                    self._wait_after_break()
                    self._add()
                    added = time.monotonic()
                elif time.monotonic() - added > _ADD_EVERY_S and self._needs_another():
                    self._add()
                    added = time.monotonic()
                with self._partial.changed:
                    self._partial.changed.wait_for(
                        lambda: self._partial.is_whole or self._running == 0 or self._error,
                        timeout=_LOOK_S,
                    )
                if self._error is not None:
                    raise self._error
                if interrupted():
                    raise KeyboardInterrupt
        finally:
            self._partial.retake()

    def _wait_after_break(self) -> None:
        error, self._broken = self._broken, None
        if error is None:
            return
        if self._partial.received_bytes > self._most_bytes:
            self._backoff.progressed()
        worthwhile = self._partial.received_bytes >= self._most_bytes + _WORTHWHILE_BYTES
        self._most_bytes = max(self._most_bytes, self._partial.received_bytes)
        if not worthwhile or error.wait_s is not None:
            self._backoff.wait(error, url=self._shown)

    def _needs_another(self) -> bool:
        keeps_up = self._partial.prefix - self._hashing.hashed_bytes < _LAG_BYTES
        return self._running < self._at_once and keeps_up

    def _add(self) -> None:
        extent = self._partial.take(self._generation)
        if extent is None:
            return
        self._running += 1
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._serve, extent), daemon=True).start()

    def _serve(self, extent: tuple[int, int]) -> None:
        try:
            self._fill(extent)
        except TransientError as error:
            self._broken = error
        except BaseException as error:
            self._error = error
        finally:
            with self._partial.changed:
                self._running -= 1
                self._partial.changed.notify_all()

    def _fill(self, first: tuple[int, int]) -> None:
        partial, generation = self._partial, self._generation
        extent: tuple[int, int] | None = first
        stream: Stream | None = None
        at = -1
        try:
            while extent is not None:
                part = extent[0] // partial.form.part_bytes
                try:
                    if stream is None or at != extent[0]:
                        if stream is not None:
                            stream.close()
                        stream = self._open(*extent)
                    at = self._read(stream, *extent)
                finally:
                    partial.release(generation, part)
                if at < extent[1]:
                    return
                extent = partial.take(generation, after=part) or partial.take(generation)
        finally:
            if stream is not None:
                stream.close()

    def _open(self, start: int, end: int) -> Stream:
        partial = self._partial
        size = partial.form.size_bytes
        last: int | None = end
        if self._running == 1:
            last = partial.free_until(start // partial.form.part_bytes)
        stream = self._source.open(start, None if last == size else last, validator=self._validator)
        try:
            if None not in (stream.size, size) and stream.size != size:
                raise MismatchError(f"{self._shown} has {stream.size} bytes, not {size}")
            if stream.validator is not None:
                if self._validator not in (None, stream.validator):
                    raise StartOverError
                self._validator = stream.validator
            if stream.start != start:
                if self._running > 1:
                    self._at_once = 1
                    raise TransientError("", remedy="")
                raise StartOverError
        except BaseException:
            stream.close()
            raise
        return stream

    def _read(self, stream: Stream, start: int, end: int) -> int:
        """The offset of the first byte that was not read."""
        while start < end:
            chunk = stream.read(min(_CHUNK_BYTES, end - start))
            if not chunk:
                if self._partial.form.size_bytes is None:
                    self._partial.ends_at(start)
                    return start
                raise TransientError(f"{self._shown} ended after {start} bytes", remedy="")
            if interrupted():
                raise KeyboardInterrupt
            if not self._partial.write(self._generation, start, chunk):
                return start
            self._count(len(chunk))
            start += len(chunk)
        return start
