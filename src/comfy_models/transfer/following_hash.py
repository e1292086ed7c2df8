"""The sha256 of a partial file, which follows the bytes that have arrived without a gap."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque

from comfy_files.parallel import end_if_interrupted
from comfy_models.transfer.partial import PartialFile

_CHUNK_BYTES = 1 << 20
# Chunks that wait in memory; later ones are read again, from the system's cache.
_WAITING = 32
_LOOK_S = 0.2


class FollowingHash:
    """Hashes in a thread of its own, from the start of the current generation's prefix on."""

    def __init__(self, partial: PartialFile) -> None:
        self._partial = partial
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._digest = hashlib.sha256()
        self._error: OSError | None = None
        self._ended = False
        self.hashed_bytes = 0
        partial.in_order = self._offer
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _offer(self, offset: int, chunk: bytes) -> None:
        if len(self._chunks) < _WAITING:
            self._chunks.append((offset, chunk))

    def result(self) -> str:
        """The sha256 of the file, 64 hex digits, once all of it has arrived.

        Raises OSError, and KeyboardInterrupt if this thread's work is cancelled.
        """
        while self._thread.is_alive():
            self._thread.join(_LOOK_S)
            end_if_interrupted()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def stop(self) -> None:
        with self._partial.grown:
            self._ended = True
            self._partial.grown.notify_all()
        self._thread.join()

    def _follow(self) -> None:
        try:
            while (end := self._await_more()) > self.hashed_bytes:
                while self.hashed_bytes < end and not self._ended:
                    chunk = self._next(end)
                    self._digest.update(chunk)
                    self.hashed_bytes += len(chunk)
        except OSError as error:
            self._error = error

    def _await_more(self) -> int:
        partial = self._partial
        with partial.grown:
            partial.grown.wait_for(
                lambda: self._ended or partial.is_whole or partial.prefix > self.hashed_bytes
            )
            return 0 if self._ended else partial.prefix

    def _next(self, end: int) -> bytes:
        while self._chunks:
            offset, chunk = self._chunks[0]
            if offset > self.hashed_bytes:
                end = min(end, offset)
                break
            self._chunks.popleft()
            if offset == self.hashed_bytes:
                return chunk
        size = min(_CHUNK_BYTES, end - self.hashed_bytes)
        chunk = os.pread(self._partial.descriptor, size, self.hashed_bytes)
        if not chunk:
            raise OSError("the partial file was cut short")
        return chunk
