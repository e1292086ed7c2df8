"""How many bytes of each part of a partial file have arrived, on disk beside it.

A header of 64 bytes, then 8 bytes for each part, little-endian. Each entry is written after the
bytes it counts, so a killed process leaves at most too low a count.
"""

from __future__ import annotations

import os
import struct
from array import array
from dataclasses import dataclass
from pathlib import Path

from comfy_models.transfer.place import open_own

_HEADER = struct.Struct("<16sQQ32s")
_ENTRY = struct.Struct("<Q")
_MAGIC = b"comfy-parts-1\n"
_UNKNOWN = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a journal is about: `size_bytes` of the whole file, None if unknown, and of a part.

    `tag` (32 bytes) is what else the bytes depend on, such as a validator of their host.
    """

    size_bytes: int | None
    part_bytes: int
    tag: bytes = bytes(32)

    @property
    def header(self) -> bytes:
        size = _UNKNOWN if self.size_bytes is None else self.size_bytes
        return _HEADER.pack(_MAGIC, size, self.part_bytes, self.tag)

    def length_of(self, part: int) -> int:
        """The bytes of one part: of the last one, what is left."""
        if self.size_bytes is None:
            return self.part_bytes
        return max(0, min(self.part_bytes, self.size_bytes - part * self.part_bytes))


class Journal:
    """The journal at `path`. An unusable one is replaced by one that counts nothing."""

    def __init__(self, path: Path, form: Form, *, partial_bytes: int) -> None:
        self._descriptor = open_own(path)
        self.form = form
        self.received = array("Q")
        content = _content(self._descriptor, form)
        if content is not None and _fits(content, form, partial_bytes):
            self.received = content
        else:
            self.restart()

    def restart(self) -> None:
        """Counts nothing."""
        self.received = array("Q")
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, self.form.header, 0)

    def note(self, part: int, received: int) -> None:
        """Counts this many bytes of a part, from its start."""
        while part >= len(self.received):
            self.received.append(0)
        self.received[part] = received
        os.pwrite(self._descriptor, _ENTRY.pack(received), _HEADER.size + part * _ENTRY.size)

    def of(self, part: int) -> int:
        return self.received[part] if part < len(self.received) else 0

    def close(self) -> None:
        os.close(self._descriptor)


def _content(descriptor: int, form: Form) -> array[int] | None:
    """The counts in the file, None if it is of another form or torn."""
    parts = 1 << 20 if form.size_bytes is None else -(-form.size_bytes // form.part_bytes)
    content = os.pread(descriptor, _HEADER.size + parts * _ENTRY.size + 1, 0)
    entries = content[_HEADER.size :]
    if content[: _HEADER.size] != form.header or len(entries) > parts * _ENTRY.size:
        return None
    whole = len(entries) // _ENTRY.size
    return array("Q", struct.unpack(f"<{whole}Q", entries[: whole * _ENTRY.size]))


def _fits(received: array[int], form: Form, partial_bytes: int) -> bool:
    starts = range(0, len(received) * form.part_bytes, form.part_bytes)
    return all(
        count <= form.length_of(part) and (count == 0 or start + count <= partial_bytes)
        for part, (start, count) in enumerate(zip(starts, received, strict=True))
    )
