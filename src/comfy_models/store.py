"""Model files by content: `<root>/sha256/ab/abcd…`. A stored file is whole and never changes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from comfy_errors import MismatchError
from comfy_files.files import is_locked, lock, write_hashed
from comfy_models.unsynced import UNSYNCED, may_be_lost, settle

PARTIAL, PARTS, LEASE = ".partial", ".parts", ".lease"
"""The names in `tmp`, after a sha256, of a file's bytes so far, which they are, who writes them."""

_STORED = re.compile(r"(?:^|/)sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})$")


@dataclass(frozen=True, kw_only=True)
class UnusedModels:
    """`files` of models that are not needed, `leftovers` of killed transfers, and `unknown` paths
    that no store writes.
    """

    files: tuple[Path, ...]
    leftovers: tuple[Path, ...]
    unknown: tuple[Path, ...]


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

    def unused(self, needed: set[str]) -> UnusedModels:
        """What is unused if `needed` are the sha256 (64 hex digits) to keep. Removes nothing."""
        files: list[Path] = []
        unknown = [it for it in _children(self.root) if it.name not in ("sha256", "tmp")]
        for file in (file for it in _children(self.root / "sha256") for file in _children(it)):
            if names_stored(str(file)) is None:
                unknown.append(file)
            elif file.name not in needed:
                files.append(file)
        # A process that writes a file holds its lock until it is done.
        left = [it for it in _children(self.root / "tmp") if it.is_dir() or _is_left(it)]
        return UnusedModels(files=tuple(files), leftovers=tuple(left), unknown=tuple(unknown))

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


def _is_left(partial: Path) -> bool:
    try:
        return not is_locked(partial)
    except FileNotFoundError:
        # Its process has just finished.
        return False


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
