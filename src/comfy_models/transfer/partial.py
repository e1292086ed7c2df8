"""A file that is being written: by several connections at once, each in parts of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace

from comfy_models.transfer.journal import Form, Journal
from comfy_models.transfer.place import Place

PART_BYTES = 16 << 20
# See COPY_BYTES. Beside the thread that hashes, 16 KiB was faster than 64.
_AT_ONCE_BYTES = 16 << 10


class PartialFile:
    """The bytes of a file that have arrived. Its partial file is open as `descriptor`; `check` is
    called before each write and may raise.

    `prefix` is how many bytes there are from the start without a gap; `grown` is notified as it
    grows, `changed` once the file is whole, and each chunk that continues it is given to
    `in_order`. What an earlier `generation` than the current one still writes is refused.
    """

    def __init__(
        self, place: Place, descriptor: int, form: Form, check: Callable[[], None]
    ) -> None:
        self._check = check
        self.descriptor = descriptor
        lock = threading.RLock()
        # Two conditions: a thread that waits for the whole file does not wake up for each chunk.
        self.changed, self.grown = threading.Condition(lock), threading.Condition(lock)
        self.generation = 0
        self.prefix = 0
        self.received_bytes = 0
        self.in_order: Callable[[int, bytes], None] = lambda _offset, _chunk: None
        self._taken: set[int] = set()
        self._writing = 0
        self._journal = Journal(place.parts, form, partial_bytes=os.fstat(descriptor).st_size)
        self._recount()

    @property
    def form(self) -> Form:
        return self._journal.form

    @property
    def is_whole(self) -> bool:
        return self.prefix == self.form.size_bytes

    def restart(self) -> None:
        """Forgets all bytes."""
        with self.changed:
            self.generation += 1
            self.changed.wait_for(lambda: not self._writing)
            self._journal.restart()
            os.ftruncate(self.descriptor, 0)
            self._taken.clear()
            self._recount()

    def retake(self) -> int:
        """A new generation: parts that earlier ones took are free. The bytes are kept."""
        with self.changed:
            self.generation += 1
            self.changed.wait_for(lambda: not self._writing)
            self._taken.clear()
            return self.generation

    def take(self, generation: int, *, after: int | None = None) -> tuple[int, int] | None:
        """The missing bytes [start, end) of the first free part, now taken; None if there is none.

        With `after`, of the part that follows that part, if it is free.
        """
        with self.changed:
            if generation != self.generation:
                return None
            if after is not None:
                return self._take(after + 1) if self._is_free(after + 1) else None
            part = self.prefix // self.form.part_bytes
            while self._exists(part):
                if self._is_free(part):
                    return self._take(part)
                part += 1
            return None

    def release(self, generation: int, part: int) -> None:
        """Makes a part free again."""
        with self.changed:
            if generation == self.generation:
                self._taken.discard(part)

    def free_until(self, part: int, *, at_most: float) -> int | None:
        """The end of the untouched parts that follow this one, the last one around the offset
        `at_most`; None if the size is unknown.
        """
        size, part_bytes = self.form.size_bytes, self.form.part_bytes
        if size is None:
            return None
        with self.changed:
            while (part + 1) * part_bytes < at_most and self._is_untouched(part + 1):
                part += 1
        return min((part + 1) * part_bytes, size)

    def write(self, generation: int, offset: int, chunk: bytes) -> bool:
        """Writes within one part, behind what was written there. False if another generation has
        begun.
        """
        with self.changed:
            if generation != self.generation:
                return False
            self._writing += 1
        try:
            self._check()
            self._put(offset, memoryview(chunk))
            with self.changed:
                self._count(offset, chunk)
        finally:
            with self.changed:
                self._writing -= 1
                if generation != self.generation:
                    self.changed.notify_all()
        return True

    def ends_at(self, size_bytes: int) -> None:
        """Sets the size, which was unknown."""
        with self.changed:
            self._journal.form = replace(self.form, size_bytes=size_bytes)
            self.grown.notify_all()
            self.changed.notify_all()

    def close(self) -> None:
        self.retake()
        self._journal.close()

    def _put(self, offset: int, left: memoryview) -> None:
        while left:
            written = os.pwrite(self.descriptor, left[:_AT_ONCE_BYTES], offset)
            offset += written
            left = left[written:]

    def _exists(self, part: int) -> bool:
        size = self.form.size_bytes
        return size is None or part * self.form.part_bytes < size

    def _is_free(self, part: int) -> bool:
        if not self._exists(part) or part in self._taken:
            return False
        return self._journal.of(part) < self.form.length_of(part)

    def _is_untouched(self, part: int) -> bool:
        return self._is_free(part) and not self._journal.of(part)

    def _take(self, part: int) -> tuple[int, int]:
        self._taken.add(part)
        start = part * self.form.part_bytes
        return start + self._journal.of(part), start + self.form.length_of(part)

    def _count(self, offset: int, chunk: bytes) -> None:
        part, start = divmod(offset, self.form.part_bytes)
        self._journal.note(part, start + len(chunk))
        self.received_bytes += len(chunk)
        if offset == self.prefix:
            self.in_order(offset, chunk)
            self._extend()
            self.grown.notify_all()
            if self.is_whole:
                self.changed.notify_all()

    def _recount(self) -> None:
        self.received_bytes = sum(self._journal.received)
        self.prefix = 0
        self._extend()

    def _extend(self) -> None:
        size, part_bytes = self.form.size_bytes, self.form.part_bytes
        while True:
            part = self.prefix // part_bytes
            if size is not None and self.prefix >= size:
                return
            end = part * part_bytes + self._journal.of(part)
            if end <= self.prefix:
                return
            self.prefix = end
