"""Model files by content: `<root>/sha256/ab/abcd…`. What lies there is whole and never changes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from comfy_errors import MismatchError
from comfy_files.hashing import write_hashed
from comfy_files.locks import lock

_CHUNK_BYTES = 1 << 20
_STORED = re.compile(r"(?:^|/)sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})$")


class ModelStore:
    """A folder of model files named by their sha256. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, sha256: str) -> Path:
        """Where the file with this sha256 (64 hex digits) lies, or would lie."""
        return self.root / "sha256" / sha256[:2] / sha256

    def holds(self, sha256: str) -> bool:
        return self.path_of(sha256).is_file()

    def add_file(self, path: Path, *, expected_sha256: str | None = None) -> tuple[str, int]:
        """Copies `path` into the store, hashing on the way: its sha256 and its size in bytes.

        Raises MismatchError, and stores nothing, if the sha256 is not the expected one.
        """
        with path.open("rb") as source:
            chunks = iter(partial(source.read, _CHUNK_BYTES), b"")
            return self.add(chunks, where=str(path), expected_sha256=expected_sha256)

    def add(
        self, chunks: Iterable[bytes], *, where: str, expected_sha256: str | None = None
    ) -> tuple[str, int]:
        """The same for bytes as they arrive; `where` names their origin in messages."""
        name = expected_sha256 or f"{os.getpid()}-{Path(where).name}"
        with self._partial(name) as partial_file:
            if expected_sha256 and self.holds(expected_sha256):
                # Another process brought it while this one waited for the partial file.
                return expected_sha256, self.path_of(expected_sha256).stat().st_size
            sha256, size_bytes = write_hashed(chunks, partial_file)
            if expected_sha256 not in (None, sha256):
                raise MismatchError(
                    f"{where} has sha256 {sha256}, but {expected_sha256} was expected",
                    remedy="Put the right file there, or resolve the version again.",
                )
            place = self.path_of(sha256)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.fsync(partial_file.fileno())
            Path(partial_file.name).replace(place)
        return sha256, size_bytes

    @contextmanager
    def _partial(self, name: str) -> Iterator[BinaryIO]:
        """An empty file that this process alone writes, removed if it still lies there at the end.

        Its name is the same each time, so that a killed transfer leaves one file behind, not many.
        """
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.partial"
        while True:
            stream = path.open("ab")
            lock(stream.fileno())
            if _is_still(path, stream):
                break
            stream.close()
        with stream:
            try:
                stream.truncate(0)
                yield stream
            finally:
                if _is_still(path, stream):
                    path.unlink()


def _is_still(path: Path, stream: BinaryIO) -> bool:
    """Whether `path` names the open file: whoever held the lock before may have moved it away."""
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def stored_sha256(path: Path) -> str | None:
    """The sha256 that a store vouches for, if `path` leads into one. Nothing is read."""
    return names_stored(os.path.realpath(path))


def names_stored(path: str) -> str | None:
    """The sha256 in the path of a file in some store, None for any other path."""
    match = _STORED.search(path)
    return match.group(2) if match else None
