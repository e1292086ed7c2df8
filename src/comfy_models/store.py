"""Model files by content: `<root>/sha256/ab/abcd…`. A stored file is whole and never changes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from comfy_errors import MismatchError
from comfy_files.files import lock, write_hashed
from comfy_models.unsynced import UNSYNCED, may_be_lost, settle

PARTIAL, PARTS, LEASE = ".partial", ".parts", ".lease"
"""The names in `tmp`, after a sha256, of a file's bytes so far, which they are, who writes them."""

MEMORY_NAME = ".comfy_verified"
"""At the top of a store or a models folder: the remembered hashes of the files below it."""

_STORED = re.compile(r"(?:^|/)sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})$")


class ModelStore:
    """A folder of model files named by their sha256. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, sha256: str) -> Path:
        """The path of the file with this sha256 (64 hex digits), stored or not."""
        return self.root / "sha256" / sha256[:2] / sha256

    def mark_of(self, sha256: str) -> Path:
        """The path of the mark of a file that the disk may not have written yet."""
        return self.root / "tmp" / f"{sha256}{UNSYNCED}"

    def holds(self, sha256: str) -> bool:
        return self.path_of(sha256).is_file() and not may_be_lost(self.mark_of(sha256))

    def doubtful(self) -> set[str]:
        """The sha256 of stored files that have to be hashed: the disk may not have all of them."""
        marks = (self.root / "tmp").glob(f"*{UNSYNCED}")
        return {mark.name.removesuffix(UNSYNCED) for mark in marks if may_be_lost(mark)}

    def settle(self) -> None:
        """Removes the marks of files that the disk has written by now."""
        for mark in (self.root / "tmp").glob(f"*{UNSYNCED}"):
            settle(mark, self.path_of(mark.name.removesuffix(UNSYNCED)))

    def add(self, chunks: Iterable[bytes], *, where: str, expected_sha256: str) -> None:
        """Stores bytes as they arrive; `where` names their origin in messages.

        Raises MismatchError, and stores nothing, if the sha256 is not the expected one.
        """
        with self._partial(expected_sha256) as partial_file:
            # Another process may have stored it while this one waited for the partial file.
            if not self.holds(expected_sha256):
                place = self.path_of(expected_sha256)
                place_verified(
                    chunks, partial_file, place, where=where, expected_sha256=expected_sha256
                )
                # Homes link to it, and a node may write to what it takes for its own file.
                place.chmod(0o444)

    @contextmanager
    def _partial(self, name: str) -> Iterator[BinaryIO]:
        """An empty file that only this process writes, removed at the end if it was not renamed.

        Its name is fixed, so that killed transfers leave one file behind, not many.
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


def place_verified(
    chunks: Iterable[bytes],
    partial_file: BinaryIO,
    place: Path,
    *,
    where: str,
    expected_sha256: str,
) -> None:
    """Writes the bytes as they arrive, then renames the file to its final name.

    Raises MismatchError if the sha256 is not the expected one; the file does not exist then.
    """
    sha256, _ = write_hashed(chunks, partial_file)
    if sha256 != expected_sha256:
        raise MismatchError(
            f"{where} has sha256 {sha256}, but {expected_sha256} was expected",
            remedy="Put the right file there, or resolve the version again.",
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    os.fsync(partial_file.fileno())
    Path(partial_file.name).replace(place)


def _is_still(path: Path, stream: BinaryIO) -> bool:
    """True if `path` still names the open file: the last lock holder may have renamed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def names_stored(path: str) -> str | None:
    """The sha256 in the path of a file in any store, None for any other path."""
    match = _STORED.search(path)
    return match.group(2) if match else None


def linked_models(folder: Path) -> set[str]:
    """The sha256 of the models that links below `folder` lead to, in whichever store."""
    links = (
        path
        for parent, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if (path := Path(parent, name)).is_symlink()
    )
    # The link's own target, and the final target.
    ways = (way for link in links for way in (str(link.readlink()), os.path.realpath(link)))
    return {sha256 for way in ways if (sha256 := names_stored(way)) is not None}
